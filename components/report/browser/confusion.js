/** Confusion matrices that stay readable at hundreds of classes: blocked by category, which folds. */

const UNKNOWN_CLASS = -1;

const MOST_UNFOLDED = 40;

/**
 * The rows and columns of a matrix: `{name, codes, group, folded}`, those of a group beside each
 * other, the largest first. With `only` all classes of other groups are one, "other".
 */
function units(of, folded, only) {
  const support = new Map();
  for (const [truth, , number] of of.pairs) {
    support.set(truth, (support.get(truth) ?? 0) + number);
  }
  const seen = new Set(of.pairs.flatMap(([truth, answer]) => [truth, answer]));
  seen.delete(UNKNOWN_CLASS);
  const groups = new Map();
  for (const code of seen) {
    const group = of.parents ? (of.parents[code] ?? "") : "";
    groups.set(group, [...(groups.get(group) ?? []), code]);
  }
  const size = (codes) => codes.reduce((sum, code) => sum + (support.get(code) ?? 0), 0);
  const sorted = [...groups].sort((a, b) => size(b[1]) - size(a[1]) || a[0].localeCompare(b[0]));
  const found = [];
  const others = [];
  for (const [group, codes] of sorted) {
    codes.sort((a, b) => (support.get(b) ?? 0) - (support.get(a) ?? 0) || a - b);
    if (only && group !== only) {
      others.push(...codes);
    } else if (!only && folded.has(group)) {
      found.push({ name: group, codes, group, folded: true });
    } else {
      found.push(...codes.map((code) => ({ name: of.labels[code], codes: [code], group })));
    }
  }
  if (others.length) {
    found.push({ name: "other", codes: others, group: "" });
  }
  return found;
}

function matrix(of, all, state, tell) {
  const rows = [...all];
  if (of.pairs.some(([truth]) => truth === UNKNOWN_CLASS)) {
    rows.push({ name: "(not in the train part)", codes: [UNKNOWN_CLASS], group: null });
  }
  const place = (list) => new Map(list.flatMap((unit, at) => unit.codes.map((code) => [code, at])));
  const [rowOf, columnOf] = [place(rows), place(all)];
  const cells = new Map();
  const support = rows.map(() => 0);
  for (const [truth, answer, number] of of.pairs) {
    const [row, column] = [rowOf.get(truth), columnOf.get(answer)];
    support[row] += number;
    const key = row * all.length + column;
    const cell = cells.get(key) ?? { row, column, number: 0, right: 0 };
    cell.number += number;
    cell.right += truth === answer ? number : 0;
    cells.set(key, cell);
  }
  const side = all.length <= 12 ? 40 : all.length <= 40 ? 20 : 12;
  const font = side < 14 ? 9 : 11;
  const wide = (text) => [...text].reduce((sum, letter) => sum + (letter > "\u2e80" ? 1 : 0.56), 0);
  const margin = Math.min(170, 12 + font * Math.max(...rows.map((row) => wide(row.name))));
  const short = (text) => {
    let kept = text;
    while (wide(kept) * font > margin - 10) {
      kept = `${kept.replace(/…$/, "").slice(0, -1)}…`;
    }
    return kept;
  };
  const [width, height] = [margin + side * all.length + margin * 0.6, margin + side * rows.length + 4];
  const parts = [];
  const boxed = (x, y, cell, isRight) => {
    const share = cell.number / support[cell.row];
    const strength = isRight ? 0.12 + 0.88 * share : 0.25 + 0.75 * Math.sqrt(share);
    parts.push(
      drawn("rect", {
        x: x + 0.5,
        y: y + 0.5,
        width: side - 1,
        height: side - 1,
        class: isRight ? "right" : "wrong",
        "fill-opacity": strength.toFixed(2),
        "data-cell": cell.row * all.length + cell.column,
      }),
    );
    if (side === 40) {
      parts.push(
        drawn("text", { x: x + side / 2, y: y + side / 2 + 4, class: strength > 0.6 ? `on ${isRight ? "right-on" : "wrong-on"}` : "in" }, figure(share, 2)),
      );
    }
  };
  for (const cell of cells.values()) {
    const isRight = rows[cell.row] === all[cell.column];
    if (!(isRight && state.diagonalOff)) {
      boxed(margin + side * cell.column, margin + side * cell.row, cell, isRight);
    }
  }
  rows.forEach((unit, at) => {
    const y = margin + side * at + side / 2 + font / 3;
    parts.push(drawn("text", { x: margin - 5, y, class: "name", "font-size": font }, short(unit.name)));
  });
  all.forEach((unit, at) => {
    const x = margin + side * at + side / 2 + font / 3;
    const turned = `rotate(-60 ${x} ${margin - 5})`;
    parts.push(
      drawn("text", { x, y: margin - 5, class: "head", "font-size": font, transform: turned }, short(unit.name)),
    );
  });
  rows.forEach((unit, at) => {
    if (at && isEdge(unit, rows[at - 1])) {
      const y = margin + side * at;
      parts.push(drawn("line", { x1: margin, x2: margin + side * all.length, y1: y, y2: y, class: "edge" }));
    }
  });
  all.forEach((unit, at) => {
    if (at && isEdge(unit, all[at - 1])) {
      const x = margin + side * at;
      parts.push(drawn("line", { x1: x, x2: x, y1: margin, y2: height - 4, class: "edge" }));
    }
  });
  parts.push(
    drawn("rect", {
      x: margin,
      y: margin,
      width: side * all.length,
      height: side * rows.length,
      class: "frame",
    }),
  );
  const found = (event) => cells.get(Number(event.target.dataset?.cell ?? NaN));
  const said = (cell) => {
    const [row, column] = [rows[cell.row], all[cell.column]];
    const what = row === column ? (row.folded ? "within the category" : "recognized") : `taken for ${column.name}`;
    return `${row.name}, ${what}: ${count(cell.number)} of ${count(support[cell.row])}`;
  };
  return drawn(
    "svg",
    {
      class: "confusion",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: "img",
      "aria-label": `Confusion matrix of ${of.title}; the table below has the same`,
      onpointermove: (event) => found(event) && tell(said(found(event))),
      onclick: (event) => {
        const cell = found(event);
        if (cell) {
          const [truths, answers] = [new Set(rows[cell.row].codes), new Set(all[cell.column].codes)];
          openPairs(of, said(cell), truths, answers);
        }
      },
    },
    parts,
  );
}

/** Whether a line parts two neighbors: they are of different groups, and not both folded ones. */
const isEdge = (unit, before) => unit.group !== before.group && !(unit.folded && before.folded);

/** Opens the products that are one of some classes and were taken for one of others. */
function openPairs(of, title, truths, answers) {
  openProducts(
    title,
    (products, at) => {
      const level = products.levels[of.name];
      const code = (place) => (place < 0 ? UNKNOWN_CLASS : of.labels.indexOf(level.labels[place]));
      return isKnown(level, at) && truths.has(code(level.truth[at])) && answers.has(code(level.answer[at]));
    },
    { level: of.name },
  );
}

function confusion(container, of) {
  const groups = [...new Set(units(of, new Set(), "").map((unit) => unit.group))].filter(Boolean);
  const state = { folded: new Set(of.labels.length > MOST_UNFOLDED ? groups : []), only: "", diagonalOff: false };
  const told = element("p", { class: "quiet told" }, "Point at a cell to read it, click to see its products.");
  const drawing = element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `Confusion matrix of ${of.title}` });
  const controls = element("div", { class: "controls" });

  function draw() {
    const all = units(of, state.folded, state.only);
    drawing.replaceChildren(matrix(of, all, state, (words) => (told.textContent = words)));
    if (groups.length > 1) {
      const folding = groups.map((group) => {
        const open = !state.folded.has(group);
        return element(
          "button",
          {
            type: "button",
            class: "fold",
            "aria-expanded": String(open),
            onclick: () => {
              state.folded[open ? "add" : "delete"](group);
              draw();
              [...controls.querySelectorAll(".fold")].at(groups.indexOf(group))?.focus();
            },
          },
          `${open ? "▾" : "▸"} ${group}`,
        );
      });
      controls.replaceChildren(
        chooser("Show", [["", "all categories"], ...groups.map((name) => [name, name])], state.only, (to) => {
          state.only = to;
          draw();
        }),
        diagonal,
        ...(state.only
          ? []
          : [element("div", { class: "folds", role: "group", "aria-label": "Categories to unfold" }, folding)]),
      );
    } else {
      controls.replaceChildren(diagonal);
    }
  }

  const box = element("input", { type: "checkbox" });
  box.addEventListener("change", () => {
    state.diagonalOff = box.checked;
    draw();
  });
  const diagonal = control("mistakes alone", box, "inline");
  const pairs = element("div");
  const classes = element("details", {}, element("summary", {}, `Class by class: ${count(of.classes.length)}`), element("div"));
  container.replaceChildren(controls, told, drawing, pairs, classes);
  draw();

  const support = new Map();
  for (const [truth, , number] of of.pairs) {
    support.set(truth, (support.get(truth) ?? 0) + number);
  }
  const name = (code) => (code === UNKNOWN_CLASS ? "(not in the train part)" : of.labels[code]);
  const wrong = of.pairs.filter(([truth, answer]) => truth !== answer);
  wrong.sort((a, b) => b[2] - a[2] || a[0] - b[0] || a[1] - b[1]);
  if (wrong.length) {
    table(pairs, {
      caption: "Most frequent confusions",
      heads: [
        { title: "True" },
        { title: "Taken for" },
        { title: "Products", number: true },
        { title: "Share of the true class", number: true },
      ],
      rows: wrong.map(([truth, answer, number]) => [
        {
          text: name(truth),
          open: () => openPairs(of, `${name(truth)}, taken for ${name(answer)}`, new Set([truth]), new Set([answer])),
        },
        name(answer),
        number,
        { text: figure(number / support.get(truth)), sort: number / support.get(truth) },
      ]),
      first: 10,
    });
  } else {
    pairs.replaceChildren(element("p", {}, "Not one product of the test part was taken for another class."));
  }
  const most = new Map();
  for (const [truth, answer, number] of wrong) {
    if (!most.has(truth)) {
      most.set(truth, [answer, number]);
    }
  }
  classes.addEventListener(
    "toggle",
    () =>
      table(classes.lastElementChild, {
        caption: `Figures of each class of ${of.title}`,
        heads: [
          { title: "Class" },
          { title: "Products", number: true },
          { title: "Precision", number: true },
          { title: "Recall", number: true },
          { title: "F1", number: true },
          { title: "Mostly taken for" },
        ],
        rows: of.classes.map(([code, products, ...figures]) => {
          const row = [
            {
              text: name(code),
              open: () => openPairs(of, `${name(code)}, not recognized`, new Set([code]), new Set(of.labels.map((_, other) => other).filter((other) => other !== code))),
            },
            products,
            ...figures.map((value) => ({ text: figure(value), sort: value })),
            most.has(code) ? `${name(most.get(code)[0])} (${count(most.get(code)[1])})` : "–",
          ];
          row.className = products < page.smallSupport ? "small" : null;
          return row;
        }),
        sort: [1, true],
      }),
    { once: true },
  );
}

function confusions() {
  document.querySelectorAll("[data-confusion]").forEach((container) => {
    whenNear(container, () => confusion(container, page.confusions[container.dataset.confusion]));
  });
}
