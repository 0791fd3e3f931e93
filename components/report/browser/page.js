/** What the report's parts stand on: choices, tables, and paper. */

/** How a figure differs from the last model's: an arrow, and a color that says whether it is good. */
function change(value, lessIsBetter) {
  const text = figure(value);
  if (/^-?\.0+$/.test(text)) {
    return element("span", { class: "change" }, "±.000");
  }
  const better = value > 0 !== lessIsBetter;
  return element(
    "span",
    { class: `change ${better ? "up" : "down"}` },
    `${value > 0 ? "▲" : "▼"} ${figure(Math.abs(value))}`,
  );
}

/** Something to fill in or choose from, with its name above it. */
const control = (() => {
  let controls = 0;
  return (name, input, more = "") => {
    input.id = `control-${++controls}`;
    return element("div", { class: `control ${more}` }, element("label", { for: input.id }, name), input);
  };
})();

/** A select of `[value, words]`, with its name above it. */
function chooser(name, options, chosen, changed) {
  const select = element("select", { onchange: () => changed(select.value) });
  select.append(
    ...options.map(([value, words]) =>
      element("option", { value, selected: value === chosen }, words),
    ),
  );
  return control(name, select);
}

/** A button that reads as a link. */
const link = (words, onclick, more = {}) =>
  element("button", { type: "button", class: "link", onclick, ...more }, words);

/**
 * A table that draws no more rows than are looked at, and sorts all of them.
 *
 * `heads` are `{title, number}`; a row is a list of cells: a text, a number, or `{text, sort, note,
 * className, open}`, where `open` is what a click on it does. `few` is the column whose number says
 * whether a row's figures say little.
 */
function table(container, { caption, heads, rows, first = 100, sort = null, overall = null, few = null }) {
  let shown = first;
  let order = sort;
  const body = element("tbody");
  const headings = heads.map((head, column) =>
    element(
      "th",
      { scope: "col", class: head.number ? "number" : null },
      element(
        "button",
        {
          type: "button",
          onclick: () => {
            const before = order && order[0] === column ? order[1] : null;
            order = [column, before === null ? Boolean(head.number) : !before];
            draw();
          },
        },
        head.title,
      ),
    ),
  );
  const more = element("p", {});
  const key = (cell) =>
    cell !== null && typeof cell === "object" ? (cell.sort ?? cell.text ?? "") : (cell ?? "");

  function draw() {
    const sorted = [...rows];
    if (order) {
      const [column, descending] = order;
      const sign = descending ? -1 : 1;
      sorted.sort((a, b) => {
        const [left, right] = [key(a[column]), key(b[column])];
        const both = typeof left === "number" && typeof right === "number";
        return sign * (both ? left - right : String(left).localeCompare(right, undefined, { numeric: true }));
      });
      headings.forEach((heading, at) => {
        if (at === column) {
          heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
        } else {
          heading.removeAttribute("aria-sort");
        }
      });
    }
    const named = (row) => row.className ?? (few !== null && row[few] < page.smallSupport ? "small" : null);
    body.replaceChildren(...sorted.slice(0, shown).map((row) => element("tr", { class: named(row) }, row.map(cellOf))));
    const left = rows.length - shown;
    more.replaceChildren();
    if (left > 0) {
      more.append(
        link(`Show ${count(Math.min(left, 200))} more of ${count(left)}`, () => {
          shown += 200;
          draw();
        }),
      );
    }
  }

  function cellOf(cell, column) {
    const isNumber = heads[column].number;
    const told = cell !== null && typeof cell === "object" ? cell : { text: cell };
    const words = typeof told.text === "number" ? count(told.text) : (told.text ?? "–");
    const classes = [isNumber ? "number" : null, told.className].filter(Boolean).join(" ");
    return element(
      column === 0 ? "th" : "td",
      { scope: column === 0 ? "row" : null, class: classes || null },
      told.open ? link(words, told.open) : words,
      told.note ? element("small", {}, told.note) : null,
    );
  }

  container.replaceChildren(
    element(
      "div",
      { class: "scroll tall", tabindex: "0", role: "group", "aria-label": caption },
      element(
        "table",
        { class: "sortable" },
        element("caption", {}, caption),
        element("thead", {}, element("tr", {}, headings)),
        body,
        overall ? element("tfoot", {}, element("tr", {}, overall.map(cellOf))) : null,
      ),
    ),
    more,
  );
  draw();
}

/** Gives each heading of a table of the page a button that sorts its rows, as `table` has. */
function makeSortable(of) {
  const headings = [...of.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = element("button", { type: "button" }, [...heading.childNodes]);
    heading.append(button);
    const isNumber = heading.classList.contains("number");
    button.addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      const descending = before ? before === "ascending" : isNumber;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const text = (row) => {
        const cell = row.cells[column];
        return (cell.dataset.sort ?? cell.textContent).trim();
      };
      const order = isNumber
        ? (a, b) => Number(text(a).replaceAll(",", "")) - Number(text(b).replaceAll(",", ""))
        : (a, b) => text(a).localeCompare(text(b), undefined, { numeric: true });
      const body = of.tBodies[0];
      body.append(...[...body.rows].sort((a, b) => (descending ? order(b, a) : order(a, b))));
    });
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);

// What may be wider than the window is scrolled by keyboard as well.
document.querySelectorAll(".scroll:not([tabindex])").forEach((wide) => {
  const name = wide.querySelector("caption") ?? wide.closest("section").querySelector("h2");
  wide.setAttribute("tabindex", "0");
  wide.setAttribute("role", "group");
  wide.setAttribute("aria-label", name.textContent);
});

// Tables that only some look at are drawn when they are unfolded.
document.querySelectorAll("[data-table]").forEach((container) => {
  const draw = () => {
    if (!container.hasChildNodes()) {
      table(container, page.tables[container.dataset.table]);
    }
  };
  const details = container.closest("details");
  if (details && !details.open) {
    details.addEventListener("toggle", draw, { once: true });
  } else {
    draw();
  }
});

// Paper is light, and what is folded away on the screen cannot be unfolded there.
addEventListener("beforeprint", () => {
  document.documentElement.classList.add("printing");
  whenNear.now();
  document.querySelectorAll("details").forEach((details) => (details.open = true));
  document.querySelectorAll("[data-table]:empty").forEach((container) => {
    table(container, page.tables[container.dataset.table]);
  });
});
addEventListener("afterprint", () => document.documentElement.classList.remove("printing"));
