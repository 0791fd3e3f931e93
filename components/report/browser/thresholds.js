/** The attributes: figures of each at the score in use, and what another score would do. */

const CURVES = { width: 380, height: 220, left: 36, right: 12, top: 10, bottom: 34 };

/** Precision, recall and F1 of counts of true positives, false positives and false negatives. */
function rates([hits, extra, missed]) {
  const share = (part, whole) => (whole ? part / whole : 0);
  return [share(hits, hits + extra), share(hits, hits + missed), share(2 * hits, 2 * hits + extra + missed)];
}

function curves(data, counts, at) {
  const { width, height, left, right, top, bottom } = CURVES;
  const x = (score) => left + score * (width - left - right);
  const y = (value) => height - bottom - value * (height - top - bottom);
  const parts = [0, 0.25, 0.5, 0.75, 1].flatMap((tick) => [
    drawn("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "rule" }),
    drawn("text", { x: left - 5, y: y(tick) + 4, class: "name" }, figure(tick, 2)),
    drawn("text", { x: x(tick), y: height - bottom + 14, class: "middle" }, figure(tick, 2)),
  ]);
  ["precision", "recall", "f1"].forEach((name, place) => {
    const points = counts.map((of, step) => `${x(data.grid[step]).toFixed(1)},${y(rates(of)[place]).toFixed(1)}`);
    parts.push(drawn("polyline", { points: points.join(" "), class: name }));
  });
  parts.push(drawn("line", { x1: x(data.grid[at]), x2: x(data.grid[at]), y1: top, y2: height - bottom, class: "at" }));
  parts.push(drawn("text", { x: (left + width - right) / 2, y: height - 4, class: "middle" }, "score"));
  return drawn(
    "svg",
    { class: "curves", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Precision, recall and F1 by score; the slider reads them" },
    parts,
  );
}

/** Opens an attribute: its curves, a slider that reads them, and the products behind. */
function openAttribute(data, place) {
  const name = data.labels[place];
  const counts = data.counts[place];
  const contents = openWindow(name);
  const nearest = data.grid.reduce(
    (best, score, at) => (Math.abs(score - data.threshold) < Math.abs(data.grid[best] - data.threshold) ? at : best),
    0,
  );
  const drawing = element("div");
  const told = element("p", { role: "status" });
  const slider = element("input", { type: "range", min: 0, max: data.grid.length - 1, value: nearest });
  const read = () => {
    const at = Number(slider.value);
    const [hits, extra, missed] = counts[at];
    const [precision, recall, f1] = rates(counts[at]);
    drawing.replaceChildren(curves(data, counts, at));
    slider.setAttribute("aria-valuetext", figure(data.grid[at], 2));
    told.textContent =
      `From ${figure(data.grid[at], 2)} on: precision ${figure(precision)}, recall ${figure(recall)}, ` +
      `F1 ${figure(f1)}; ${count(hits)} rightly said, ${count(extra)} wrongly, ${count(missed)} missed.`;
  };
  slider.addEventListener("input", read);
  const open = (words, has, says) =>
    link(words, () =>
      openProducts(`${name}: ${words.toLowerCase()}`, (products, at) => {
        const code = products.attributes.labels.indexOf(name);
        return products.attributes.truth[at].includes(code) === has && products.attributes.said[at].includes(code) === says;
      }),
    );
  contents.replaceChildren(
    element(
      "ul",
      { class: "legend" },
      ["Precision", "Recall", "F1"].map((of) => element("li", { class: of.toLowerCase() }, of)),
    ),
    drawing,
    control("From score", slider, "wide"),
    told,
    element(
      "p",
      {},
      `In use is ${figure(data.threshold, 2)}. Products there: `,
      open("Missed", true, false),
      ", ",
      open("Wrongly said", false, true),
      ", ",
      open("Rightly said", true, true),
      ".",
    ),
  );
  read();
}

function attributes() {
  whenSeen("attributes-shown", "attributes", (container, data) => {
    table(container, {
      caption: `Attributes at a score of ${figure(data.threshold, 2)}; click one for other scores and its products`,
      heads: [
        { title: "Attribute" },
        { title: "Products", number: true },
        { title: "Precision", number: true },
        { title: "Recall", number: true },
        { title: "F1", number: true },
        { title: "Average precision", number: true },
      ],
      rows: data.figures.map(([products, precision, recall, f1, average], place) => {
        const group = data.labels[place].split("=")[0];
        const row = [
          {
            text: data.labels[place].slice(group.length + 1) || group,
            note: group,
            sort: data.labels[place],
            open: () => openAttribute(data, place),
          },
          products,
          ...[precision, recall, f1, average].map((value) => ({
            text: value === null ? "–" : figure(value),
            sort: value ?? -9,
          })),
        ];
        row.className = products < page.smallSupport ? "small" : null;
        return row;
      }),
      first: 60,
    });
  });
}
