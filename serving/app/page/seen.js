/** What the model sees in the query's picture: labels with their scores, where they show, filters. */

import { element, figure, isolated, link, titled } from "./elements.js";
import { split } from "./labels.js";

const FIRST = 2;
const FIRST_ATTRIBUTES = 5;
const WORTH_SAYING = 0.05;

/**
 * @param container where it is shown.
 * @param on `where(level, label or null)` where the label's map is to be seen or taken away;
 *   `only(field, value)` where only products with that are wanted; `ask()` what is seen.
 */
export function whatIsSeen(container, on) {
  const list = element("div", { class: "levels" });
  const first = element("span", { class: "quiet first" });
  const fold = element(
    "details",
    { class: "part", open: matchMedia("(min-width: 62rem)").matches },
    element("summary", {}, element("h3", {}, "What the model sees"), first),
    list,
  );
  container.replaceChildren(fold);
  let all = false;
  let located = null;

  function row(level, { label, score }, { mapped, filterOf }) {
    const filter = filterOf(level, label);
    const [group, words] = level === "attributes" ? split(label) : ["", label];
    const isLocated = located === `${level}=${label}`;
    const shown = mapped(level)
      ? element(
          "button",
          {
            type: "button",
            class: "link",
            "aria-pressed": String(isLocated),
            title: "Where in the picture the model sees it",
            onclick: () => {
              located = isLocated ? null : `${level}=${label}`;
              on.where(level, isLocated ? null : label);
            },
          },
          isolated(words),
        )
      : isolated(words);
    const bar = element("span", { class: "score-bar", "aria-hidden": "true" }, element("span"));
    bar.firstChild.style.width = `${Math.min(1, Math.max(0, score)) * 100}%`;
    return element(
      "li",
      {},
      element("span", { class: "words" }, group ? element("small", {}, isolated(titled(group)), " ") : null, shown),
      bar,
      element("span", { class: "number" }, figure(score)),
      filter
        ? element(
            "button",
            {
              type: "button",
              class: "link only",
              onclick: () => on.only(...filter),
              "aria-label": `Only products with ${titled(filter[0])} ${words}`,
            },
            "only",
          )
        : element("span"),
    );
  }

  return {
    /**
     * Shows what is seen; null where nobody asked the model yet.
     *
     * @param about `mapped(level)` says whether a label's place can be shown, `filterOf(level, label)`
     *   the `[field, value]` of products that have it, or null.
     */
    show(seen, about) {
      const kind = seen?.find(({ level }) => level === "subcategory") ?? seen?.[0];
      first.replaceChildren(...(kind?.labels.length ? [" ", isolated(kind.labels[0].label), ` ${figure(kind.labels[0].score)}`] : []));
      if (!seen) {
        list.replaceChildren(
          element("p", {}, link("Ask the model about this picture", on.ask)),
        );
        return;
      }
      const focused = list.contains(document.activeElement)
        ? [...list.querySelectorAll("button")].indexOf(document.activeElement)
        : -1;
      let left = 0;
      const parts = seen.map(({ level, labels }) => {
        const most = level === "attributes" ? FIRST_ATTRIBUTES : FIRST;
        const worth = labels.filter(({ score }, at) => at === 0 || score >= WORTH_SAYING);
        const shown = all ? labels : worth.slice(0, most);
        left += labels.length - shown.length;
        return [
          element("h4", {}, titled(level)),
          labels.length
            ? element("ul", {}, shown.map((label) => row(level, label, about)))
            : element("p", { class: "quiet" }, "none"),
        ];
      });
      list.replaceChildren(...parts.flat());
      if (left || all) {
        list.append(
          link(all ? "Show fewer" : `Show ${left} more`, () => {
            all = !all;
            this.show(seen, about);
          }),
        );
      }
      list.querySelectorAll("button")[focused]?.focus({ preventScroll: true });
    },
    /** Forgets which label's place is shown. */
    forget() {
      located = null;
    },
  };
}
