/** The slices: a level and a figure chosen, in any order, with intervals, beside the last model. */

const BAR = { width: 220, height: 22, pad: 6 };

/** A slice's figure on a scale from `low` to `high`, its interval, the last model's, and all's. */
function bar([value, from, to, last], all, low, high, words) {
  const x = (of) => BAR.pad + ((of - low) / (high - low || 1)) * (BAR.width - 2 * BAR.pad);
  const middle = BAR.height / 2;
  const within = (of) => Math.min(Math.max(of, low), high);
  return drawn(
    "svg",
    { class: "slice-bar", viewBox: `0 0 ${BAR.width} ${BAR.height}`, role: "img", "aria-label": words },
    drawn("line", { x1: x(all), x2: x(all), y1: 0, y2: BAR.height, class: "all" }),
    from === undefined || from === null
      ? null
      : drawn("line", { x1: x(within(from)), x2: x(within(to)), y1: middle, y2: middle, class: "interval" }),
    last === undefined || last === null
      ? null
      : drawn("path", { d: `M${x(last)} ${middle - 5} v10`, class: "last" }),
    drawn("circle", { cx: x(value), cy: middle, r: 4.5, class: "value" }),
  );
}

/** Puts the explorer into a container; `data` are what `explorer.told` of the report gives. */
function explorer(container, data) {
  const [overall, ...slices] = data.rows;
  const columns = [...new Set(slices.map((row) => row.column))];
  const levels = data.levels;
  const start = levels.find((level) => level.name === "subcategory") ?? levels[0];
  const mainOf = (level) => (level.metrics.find((metric) => metric.main) ?? level.metrics[0]).name;
  const state = {
    level: start.name,
    metric: mainOf(start),
    column: "",
    order: "value",
    least: 0,
    low: false,
    search: "",
  };
  const counted = slices.some((row) => row.products !== null);
  const marked = slices.some((row) => row.figures.some((of) => of && of[4]));
  const bounded = data.rows.some((row) => row.figures.some((of) => of && typeof of[1] === "number"));
  const compared = slices.some((row) => row.figures.some((of) => of && typeof of[3] === "number"));
  const controls = element("div", { class: "controls" });
  const told = element("p", { class: "quiet", role: "status" });
  const list = element("div");

  function draw() {
    const level = levels.find((of) => of.name === state.level);
    const metric = level.metrics.find((of) => of.name === state.metric);
    const at = data.names.indexOf(`${state.level}/${state.metric}`);
    const all = overall.figures[at];
    const rows = slices.filter(
      (row) =>
        row.figures[at] &&
        (!state.column || row.column === state.column) &&
        (row.products === null || row.products >= state.least) &&
        (!state.low || row.figures[at][4]) &&
        `${row.column} ${row.value}`.toLowerCase().includes(state.search.toLowerCase()),
    );
    const changeOf = (row) => {
      const of = row.figures[at];
      return typeof of[3] === "number" ? of[0] - of[3] : null;
    };
    const worse = metric.less ? -1 : 1;
    const keys = {
      value: (row) => worse * row.figures[at][0],
      best: (row) => -worse * row.figures[at][0],
      products: (row) => -(row.products ?? 0),
      change: (row) => worse * (changeOf(row) ?? Infinity),
    };
    const key = keys[state.order];
    if (key) {
      rows.sort((a, b) => key(a) - key(b));
    }
    const ends = [...rows, overall].flatMap((row) => (row.figures[at] || []).slice(0, 4));
    const numbers = ends.filter((of) => typeof of === "number");
    const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
    told.replaceChildren(
      `${many(rows.length, "slice", "slices")}. `,
      all ? `All products together: ${figure(all[0])} (dotted line). ` : "",
      metric.less ? "Less is better." : "",
    );
    const heads = [
      { title: "Slice" },
      ...(counted ? [{ title: "Products", number: true }] : []),
      { title: metric.title, number: true },
      ...(bounded ? [{ title: "Interval", number: true }] : []),
      ...(compared ? [{ title: "Change", number: true }] : []),
      { title: `${figure(low)} to ${figure(high)}` },
    ];
    const cells = (row) => {
      const of = row.figures[at];
      const difference = changeOf(row);
      const name = row.column ? `${row.column}: ${row.value}` : "All";
      return [
        {
          text: row.column ? row.value : "All",
          note: row.column,
          sort: name,
          open: row.keys.length && page.files !== undefined ? () => openSlice(row, state.level, of) : null,
        },
        ...(counted ? [row.products] : []),
        { text: `${of[4] ? "▼ " : ""}${figure(of[0])}`, sort: of[0], className: of[4] ? "low" : null },
        ...(bounded
          ? [
              {
                text: typeof of[1] === "number" ? `${figure(of[1])} to ${figure(of[2])}` : "–",
                sort: of[1] ?? -9,
              },
            ]
          : []),
        ...(compared
          ? [{ text: difference === null ? "–" : change(difference, metric.less), sort: difference ?? -9 }]
          : []),
        { text: bar(of, (all || of)[0], low, high, `${name}: ${figure(of[0])}`), sort: of[0] },
      ];
    };
    const lines = rows.map((row) => {
      const line = cells(row);
      line.className = row.products !== null && row.products < page.smallSupport ? "small" : null;
      return line;
    });
    table(list, {
      caption: `${level.title} ${metric.title} by slice`,
      heads,
      rows: lines,
      first: 60,
      overall: all ? cells(overall) : null,
    });
  }

  function choices() {
    const level = levels.find((of) => of.name === state.level);
    const set = (name) => (value) => {
      state[name] = value;
      draw();
    };
    const least = element("input", { type: "number", min: 0, value: state.least, inputmode: "numeric" });
    least.addEventListener("input", () => set("least")(Number(least.value) || 0));
    const search = element("input", { type: "search", value: state.search });
    search.addEventListener("input", () => set("search")(search.value));
    const low = element("input", { type: "checkbox", checked: state.low });
    low.addEventListener("change", () => set("low")(low.checked));
    controls.replaceChildren(
      ...[
        levels.length > 1 &&
          chooser("Level", levels.map((of) => [of.name, of.title]), state.level, (to) => {
            state.level = to;
            const next = levels.find((of) => of.name === to);
            if (!next.metrics.some((metric) => metric.name === state.metric)) {
              state.metric = mainOf(next);
            }
            choices();
            draw();
          }),
        chooser("Figure", level.metrics.map((of) => [of.name, of.title]), state.metric, set("metric")),
        columns.length > 1 &&
          chooser("By", [["", "everything"], ...columns.map((name) => [name, name])], state.column, set("column")),
        chooser(
          "Order",
          [
            ["value", "worst first"],
            ["best", "best first"],
            ...(counted ? [["products", "largest first"]] : []),
            ...(compared ? [["change", "fell most first"]] : []),
            ["", "as they are"],
          ],
          state.order,
          set("order"),
        ),
        counted && control("At least products", least),
        control("Find", search),
        marked && control("surely below all", low, "inline"),
      ].filter(Boolean),
    );
  }

  container.replaceChildren(controls, told, list);
  choices();
  draw();
}

/** Whether a product is in the slice. */
function isIn(products, keys) {
  const tests = keys.map(([column, value]) => {
    if (column === "attributes") {
      const code = products.attributes?.labels.indexOf(value) ?? -1;
      return (at) => code >= 0 && products.attributes.truth[at].includes(code);
    }
    const of = products.slices[column];
    const code = of ? of.values.indexOf(value) : -1;
    return (at) => code >= 0 && of.of[at] === code;
  });
  return (at) => tests.every((test) => test(at));
}

/** Opens a slice: its classes, the worst first, and its wrong products. */
async function openSlice(row, level, of) {
  const contents = openWindow(`${row.column}: ${row.value}`);
  const products = await loadInto(contents, "products");
  if (!products) {
    return;
  }
  const inside = isIn(products, row.keys);
  const places = choose(products, inside);
  const name = products.levels[level] ? level : Object.keys(products.levels).at(1) ?? "category";
  const levels = products.levels[name];
  const classes = new Map();
  for (const at of places.filter((place) => isKnown(levels, place))) {
    const told = classes.get(levels.truth[at]) ?? { products: 0, right: 0, taken: new Map() };
    classes.set(levels.truth[at], told);
    told.products += 1;
    if (isWrong(levels, at)) {
      told.taken.set(levels.answer[at], (told.taken.get(levels.answer[at]) ?? 0) + 1);
    } else {
      told.right += 1;
    }
  }
  const rows = [...classes].map(([truth, told]) => {
    const [most] = [...told.taken].sort((a, b) => b[1] - a[1]);
    return [
      label(levels, truth),
      told.products,
      { text: figure(told.right / told.products), sort: told.right / told.products },
      most ? `${label(levels, most[0])} (${count(most[1])})` : "–",
    ];
  });
  const wrong = places.filter((at) => isWrong(levels, at));
  wrong.sort((a, b) => levels.score[b] - levels.score[a]);
  const ofClasses = element("div");
  const ofProducts = element("div");
  const title = page.titles[name] ?? name;
  contents.replaceChildren(
    element(
      "p",
      { class: "quiet" },
      `${many(row.products ?? places.length, "product", "products")}` +
        (products.count > products.ids.length
          ? `, ${count(places.length)} of them among the most surely wrong ones that the page knows. `
          : ". ") +
        `${title} wrong in ${count(wrong.length)}.`,
    ),
    element("h3", {}, `Classes of ${title}`),
    ofClasses,
    element("h3", {}, `Wrong in ${title}, the surest first`),
    ofProducts,
  );
  table(ofClasses, {
    caption: `What became of the slice's products, class by class`,
    heads: [
      { title: "True" },
      { title: "Products", number: true },
      { title: "Right", number: true },
      { title: "Mostly taken for" },
    ],
    rows: rows.sort((a, b) => a[2].sort - b[2].sort || b[1] - a[1]),
    first: 20,
  });
  gallery(ofProducts, products, wrong, { level: name });
}

const slices = () => whenSeen("slices-shown", "slices", explorer);
