"use strict";

const figures = JSON.parse(document.getElementById("figures").textContent);

/** Replaces names of CSS variables, however deep, by their present values. */
function withColors(value, style) {
  if (typeof value === "string") {
    return value.startsWith("--") ? style.getPropertyValue(value).trim() : value;
  }
  if (Array.isArray(value)) {
    return value.map((of) => withColors(of, style));
  }
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(
      Object.entries(value).map(([key, of]) => [key, withColors(of, style)]),
    );
  }
  return value;
}

function draw() {
  const style = getComputedStyle(document.documentElement);
  const axis = { gridcolor: "--rule", linecolor: "--rule", zerolinecolor: "--rule", fixedrange: true };
  for (const [id, figure] of Object.entries(figures)) {
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: "--text", family: getComputedStyle(document.body).fontFamily, size: 12 },
      hoverlabel: { bgcolor: "--raised", bordercolor: "--rule", font: { color: "--text" } },
      ...figure.layout,
      xaxis: { ...axis, ...figure.layout.xaxis },
      yaxis: { ...axis, ...figure.layout.yaxis },
    };
    Plotly.react(id, withColors(figure.data, style), withColors(layout, style), {
      responsive: true,
      displayModeBar: false,
    });
  }
}

/**
 * Gives each heading of a table a button that sorts its rows; numbers begin with the largest. Where a
 * cell says more than a number, its `data-sort` is the number.
 */
function makeSortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
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
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort((a, b) => (descending ? order(b, a) : order(a, b))));
    });
  });
}

draw();
document.querySelectorAll("table.sortable").forEach(makeSortable);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

// Paper is light, and what is folded away on the screen cannot be unfolded there.
addEventListener("beforeprint", () => {
  document.documentElement.classList.add("printing");
  document.querySelectorAll("details").forEach((details) => (details.open = true));
  draw();
});
addEventListener("afterprint", () => {
  document.documentElement.classList.remove("printing");
  draw();
});
