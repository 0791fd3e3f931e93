/** Filters by the catalog's fields, with how many products each value leaves. */

import { arrange, count, element, isolated, link, titled } from "./elements.js";

const FIRST = 8;
const LONG = 12;
const OPEN = 3;

/**
 * @param container where they are shown.
 * @param changed is called with a field, a value, and whether it is wanted.
 */
export function filters(container, changed) {
  const fields = new Map();

  function makeField(field, isOpen) {
    const rows = new Map();
    const chosen = element("span", { class: "chosen" });
    const list = element("ul", { "aria-label": titled(field) });
    const search = element("input", {
      type: "search",
      placeholder: "Find",
      "aria-label": `Find in ${titled(field)}`,
      oninput: () => draw(),
    });
    const more = link("", () => {
      all = !all;
      draw();
    });
    const left = element("p", { class: "quiet" });
    const box = element(
      "details",
      { open: isOpen },
      element("summary", {}, isolated(titled(field)), chosen),
      search,
      list,
      more,
      left,
    );
    let [values, wanted, rarer, all] = [[], new Set(), 0, false];

    function row(value) {
      const input = element("input", {
        type: "checkbox",
        onchange: () => changed(field, value, input.checked),
      });
      const number = element("span", { class: "number" });
      const made = element("li", {}, element("label", {}, input, isolated(value), number));
      return { made, input, number };
    }

    function draw() {
      const typed = search.value.trim().toLowerCase();
      const found = values.filter(({ value }) => value.toLowerCase().includes(typed));
      const shown = typed || all ? found : found.filter(({ value }, at) => at < FIRST || wanted.has(value));
      arrange(
        list,
        shown.map(({ value, count: number }) => {
          if (!rows.has(value)) {
            rows.set(value, row(value));
          }
          const of = rows.get(value);
          of.input.checked = wanted.has(value);
          of.number.textContent = number === null ? "" : count(number);
          return of.made;
        }),
      );
      search.hidden = values.length <= LONG;
      more.hidden = Boolean(typed) || values.length <= FIRST;
      more.textContent = all ? "Show fewer" : `Show all ${count(values.length)}`;
      left.textContent = typed && !found.length ? "No such value." : rarer ? `${count(rarer)} rarer ones are not listed.` : "";
      left.hidden = !left.textContent;
      chosen.textContent = wanted.size ? ` · ${wanted.size}` : "";
    }

    return {
      box,
      show(counted, wantedNow, more) {
        wanted = new Set(wantedNow);
        // What is wanted is shown, however few products have it, so that it can be taken back.
        const missing = wantedNow.filter((value) => !counted.some((one) => one.value === value));
        values = [...counted, ...missing.map((value) => ({ value, count: null }))];
        rarer = more;
        draw();
      },
    };
  }

  return {
    /** Shows the fields of an answer of `api/facets` and what is wanted of them. */
    show(answer, where) {
      const named = Object.entries(answer.fields).filter(([, { values }]) => values.length);
      for (const field of fields.keys()) {
        if (!named.some(([name]) => name === field)) {
          fields.delete(field);
        }
      }
      named.forEach(([field, { values, more }], at) => {
        const wanted = where.filter(([name]) => name === field).map(([, value]) => value);
        if (!fields.has(field)) {
          fields.set(field, makeField(field, at < OPEN || wanted.length > 0));
        }
        fields.get(field).show(values, wanted, more);
      });
      arrange(container, named.map(([field]) => fields.get(field).box));
    },
  };
}
