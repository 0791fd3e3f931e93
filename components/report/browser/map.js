/** The search's map: test products that it compares as alike lie near each other. */

const MAP = { pad: 18, reach: 16, most: 40, step: 1.6 };

/** A polygon's corners around the middle; the first one above it, unless it is turned, in turns. */
const polygon = (corners, size, turned = 0) =>
  Array.from({ length: corners }, (_, corner) => {
    const angle = 2 * Math.PI * (corner / corners + turned);
    return [size * Math.sin(angle), -size * Math.cos(angle)];
  });

/** A shape for each color, for those who do not tell the colors apart; at a radius of about 1. */
const MARKS = [
  polygon(16, 1),
  polygon(4, 1.25, 1 / 8),
  polygon(3, 1.35),
  polygon(4, 1.3),
  polygon(3, 1.35, 1 / 2),
  [
    [-0.4, -1.2], [0.4, -1.2], [0.4, -0.4], [1.2, -0.4], [1.2, 0.4], [0.4, 0.4],
    [0.4, 1.2], [-0.4, 1.2], [-0.4, 0.4], [-1.2, 0.4], [-1.2, -0.4], [-0.4, -0.4],
  ],
  polygon(6, 1.15),
];

const REST = polygon(16, 0.7);

/** The mark of a field's value; -1 for those that share one. */
const markOf = (code) => (code >= 0 && code < MARKS.length ? code : -1);

const markColor = (mark) => (mark < 0 ? "--map-rest" : `--map-${mark + 1}`);

const markDrawn = (mark) =>
  drawn(
    "svg",
    { viewBox: "-1.5 -1.5 3 3", "aria-hidden": "true" },
    drawn("polygon", {
      points: (mark < 0 ? REST : MARKS[mark]).map((point) => point.join()).join(" "),
      style: `fill: var(${markColor(mark)})`,
    }),
  );

/** Puts the map into a container; `data` are what `embedding_map` of the index gives. */
function mapOf(container, data) {
  const products = page.pictures ? load("products").catch(() => null) : Promise.resolve(null);
  const placed = products.then((known) => new Map(known ? known.ids.map((id, at) => [id, at]) : []));
  const fields = Object.keys(data.fields);
  const state = { field: fields[0] ?? "", only: null, chosen: null, scale: 1, x: data.side / 2, y: data.side / 2 };
  const usual = Math.min(Math.max(60 / Math.sqrt(data.ids.length), 3), 6);
  const canvas = element("canvas");
  const box = element(
    "div",
    {
      class: "map",
      tabindex: "0",
      role: "application",
      "aria-label": "Map of the search: arrow keys go from product to product, Enter opens one, plus and minus zoom. The list below has the same products",
      onkeydown: pressed,
    },
    canvas,
  );
  const controls = element("div", { class: "controls" });
  const legend = element("ul", { class: "map-legend" });
  const card = element("div", { class: "map-card", role: "status" });
  const colored = () => data.fields[state.field] ?? { values: [], of: [] };
  const codeOf = (at) => colored().of[at] ?? -1;
  const isShown = (at) => state.only === null || codeOf(at) === state.only;

  // Where things are on the canvas, in CSS pixels.
  let side = 0;
  const zoomed = () => ((side - 2 * MAP.pad) / data.side) * state.scale;
  const placeOf = (at) => [
    side / 2 + (data.x[at] - state.x) * zoomed(),
    side / 2 - (data.y[at] - state.y) * zoomed(),
  ];

  /** Draws it anew with the next frame, however much has changed until then. */
  const draw = (() => {
    let due = 0;
    return () => {
      cancelAnimationFrame(due);
      due = requestAnimationFrame(drawNow);
    };
  })();

  function drawNow() {
    if (!side) {
      return;
    }
    // Paper is finer than most screens.
    const fine = Math.max(devicePixelRatio, 2);
    canvas.width = canvas.height = Math.round(side * fine);
    const brush = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    brush.scale(fine, fine);
    const radius = usual * Math.min(state.scale ** 0.4, 2.5);
    const heaps = new Map([-1, ...MARKS.keys()].map((mark) => [mark, []]));
    const hidden = [];
    data.ids.forEach((_, at) => (isShown(at) ? heaps.get(markOf(codeOf(at))) : hidden).push(at));
    const heap = (places, mark, opacity) => {
      brush.globalAlpha = opacity;
      brush.fillStyle = style.getPropertyValue(markColor(mark));
      brush.beginPath();
      for (const at of places) {
        trace(brush, at, mark < 0 && state.only === null ? REST : MARKS[Math.max(mark, 0)], radius);
      }
      brush.fill();
    };
    heap(hidden, -1, 0.35);
    for (const [mark, places] of heaps) {
      // A value that is looked at alone has a color, though it shares the others' mark else.
      heap(places, state.only !== null && mark < 0 ? 0 : mark, 0.85);
    }
    if (state.chosen !== null) {
      brush.globalAlpha = 1;
      brush.strokeStyle = style.getPropertyValue("--text");
      brush.lineWidth = 2;
      brush.beginPath();
      brush.arc(...placeOf(state.chosen), radius + 5, 0, 2 * Math.PI);
      brush.stroke();
    }
  }

  function trace(brush, at, shape, radius) {
    const [x, y] = placeOf(at);
    if (x < -radius || y < -radius || x > side + radius || y > side + radius) {
      return;
    }
    shape.forEach(([right, down], corner) =>
      brush[corner ? "lineTo" : "moveTo"](x + radius * right, y + radius * down),
    );
    brush.closePath();
  }

  /** The product that is nearest to a place on the canvas, within reach; null without any. */
  function nearest(x, y, reach) {
    let [best, least] = [null, reach ** 2];
    data.ids.forEach((_, at) => {
      if (isShown(at)) {
        const [left, top] = placeOf(at);
        const distance = (left - x) ** 2 + (top - y) ** 2;
        if (distance < least) {
          [best, least] = [at, distance];
        }
      }
    });
    return best;
  }

  const told = (at) =>
    Object.entries(data.fields).map(([name, field]) =>
      field.of[at] < 0
        ? null
        : element("p", {}, element("small", {}, `${name}: `), element("bdi", {}, field.values[field.of[at]])),
    );

  async function choose(at) {
    if (at === state.chosen) {
      return;
    }
    state.chosen = at;
    draw();
    if (at === null) {
      card.replaceChildren();
      return;
    }
    const [known, places] = await Promise.all([products, placed]);
    if (at !== state.chosen) {
      return;
    }
    const id = data.ids[at];
    const place = places.get(id);
    card.replaceChildren(
      place === undefined
        ? element("div", { class: "no-image" }, "no picture here")
        : picture(known, place, (_, paintNow) => paintNow()),
      element(
        "div",
        {},
        element("p", {}, place === undefined ? element("bdi", {}, id) : link(id, () => open(at))),
        told(at),
      ),
    );
  }

  async function open(at) {
    const place = (await placed).get(data.ids[at]);
    if (place !== undefined) {
      openProducts(data.ids[at], (_, other) => other === place, { says: () => told(at) });
    }
  }

  /** Looks closer, or from further away, so that what is at a place of the canvas stays there. */
  function zoom(factor, x = side / 2, y = side / 2) {
    const before = zoomed();
    state.scale = Math.min(Math.max(state.scale * factor, 1), MAP.most);
    const after = zoomed();
    move((side / 2 - x) * (after / before - 1), (side / 2 - y) * (after / before - 1));
  }

  /** Moves the map by some pixels. */
  function move(right, down) {
    const within = (value) => (state.scale === 1 ? data.side / 2 : Math.min(Math.max(value, 0), data.side));
    state.x = within(state.x - right / zoomed());
    state.y = within(state.y + down / zoomed());
    canvas.style.touchAction = state.scale === 1 ? "pan-y" : "none";
    steps.forEach((button) => (button.disabled = state.scale === 1));
    draw();
  }

  function pressed(event) {
    const toward = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const keys = {
      "+": () => zoom(MAP.step),
      "=": () => zoom(MAP.step),
      "-": () => zoom(1 / MAP.step),
      0: () => zoom(0),
      Escape: () => choose(null),
      Enter: () => state.chosen !== null && open(state.chosen),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !(toward || keys[event.key])) {
      return;
    }
    event.preventDefault();
    if (toward) {
      step(...toward);
    } else {
      keys[event.key]();
    }
  }

  /** Goes to the next product in a direction. */
  function step(right, down) {
    if (state.chosen === null || !isShown(state.chosen)) {
      choose(nearest(side / 2, side / 2, Infinity));
      return;
    }
    const [x, y] = placeOf(state.chosen);
    let [best, least] = [null, Infinity];
    data.ids.forEach((_, at) => {
      const [left, top] = placeOf(at);
      const along = (left - x) * right + (top - y) * down;
      const beside = Math.abs((left - x) * down) + Math.abs((top - y) * right);
      const distance = along + 3 * beside;
      if (isShown(at) && along > 0 && distance < least) {
        [best, least] = [at, distance];
      }
    });
    if (best !== null) {
      const [left, top] = placeOf(best);
      if (Math.min(left, top) < 0 || Math.max(left, top) > side) {
        move(side / 2 - left, side / 2 - top);
      }
      choose(best);
    }
  }

  function touched() {
    const pointers = new Map();
    let [moved, byMouse] = [0, true];
    const at = (event) => {
      const { left, top } = canvas.getBoundingClientRect();
      return [event.clientX - left, event.clientY - top];
    };
    const spread = ([[a, b], [c, d]]) => Math.hypot(a - c, b - d);
    canvas.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, at(event));
      moved = pointers.size > 1 ? Infinity : 0;
      byMouse = event.pointerType === "mouse";
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = at(event);
      const before = pointers.get(event.pointerId);
      if (!before) {
        const found = nearest(x, y, MAP.reach);
        if (found !== null) {
          choose(found);
        }
        return;
      }
      const wide = pointers.size === 2 ? spread([...pointers.values()]) : 0;
      pointers.set(event.pointerId, [x, y]);
      moved += Math.hypot(x - before[0], y - before[1]);
      if (wide) {
        const [[a, b], [c, d]] = [...pointers.values()];
        zoom(spread([...pointers.values()]) / wide, (a + c) / 2, (b + d) / 2);
      } else if (moved > 5) {
        move(x - before[0], y - before[1]);
      }
    });
    const away = (event) => pointers.delete(event.pointerId);
    canvas.addEventListener("pointercancel", away);
    canvas.addEventListener("pointerup", away);
    canvas.addEventListener("click", (event) => {
      if (moved > 5) {
        return;
      }
      const found = nearest(...at(event), MAP.reach * (byMouse ? 1 : 1.5));
      // A finger has no hovering: the first tap shows the product, and the next one opens it.
      if (found !== null && (byMouse || found === state.chosen)) {
        open(found);
      }
      choose(found);
    });
    canvas.addEventListener(
      "wheel",
      (event) => {
        // Without the key the wheel scrolls the page; a touchpad's pinch comes with it.
        if (event.ctrlKey || event.metaKey) {
          event.preventDefault();
          zoom(Math.exp(-event.deltaY / 200), ...at(event));
        }
      },
      { passive: false },
    );
  }

  const button = (words, name, onclick) =>
    element("button", { type: "button", class: "fold", "aria-label": name, title: name, onclick }, words);
  const steps = [
    ["←", "Move left", 1, 0],
    ["→", "Move right", -1, 0],
    ["↑", "Move up", 0, 1],
    ["↓", "Move down", 0, -1],
  ].map(([words, name, right, down]) => button(words, name, () => move((right * side) / 4, (down * side) / 4)));

  function look(code) {
    state.only = code;
    draw();
    choices();
  }

  function choices() {
    const { values, of } = colored();
    const counts = new Map();
    of.forEach((code) => counts.set(code, (counts.get(code) ?? 0) + 1));
    const others = data.ids.length - values.slice(0, MARKS.length).reduce((sum, _, code) => sum + counts.get(code), 0);
    controls.replaceChildren(
      ...[
        fields.length > 0 &&
          chooser("Color by", fields.map((name) => [name, name]), state.field, (to) => {
            [state.field, state.only] = [to, null];
            draw();
            choices();
            controls.querySelector("select").focus();
          }),
        values.length > MARKS.length &&
          chooser(
            "Look at",
            [["", "all"], ...values.map((value, code) => [String(code), `${value} (${count(counts.get(code))})`])],
            state.only === null ? "" : String(state.only),
            (to) => look(to === "" ? null : Number(to)),
          ),
        element(
          "div",
          { class: "folds", role: "group", "aria-label": "What is seen of the map" },
          button("+", "Zoom in", () => zoom(MAP.step)),
          button("−", "Zoom out", () => zoom(1 / MAP.step)),
          button("All", "The whole map", () => zoom(0)),
          steps,
        ),
      ].filter(Boolean),
    );
    const focused = legend.contains(document.activeElement) ? document.activeElement.dataset.code : null;
    legend.replaceChildren(
      ...values.slice(0, MARKS.length).map((value, code) =>
        element(
          "li",
          {},
          element(
            "button",
            {
              type: "button",
              "data-code": code,
              "aria-pressed": String(state.only === code),
              title: value,
              onclick: () => look(state.only === code ? null : code),
            },
            markDrawn(code),
            element("bdi", {}, value),
            element("small", {}, count(counts.get(code))),
          ),
        ),
      ),
      ...(others
        ? [element("li", {}, element("span", { class: "rest" }, markDrawn(-1), values.length ? "others" : "products", element("small", {}, count(others))))]
        : []),
    );
    legend.querySelector(`[data-code="${focused}"]`)?.focus();
  }

  const list = element("details", { class: "map-list" }, element("summary", {}, `Products of the map: ${count(data.ids.length)}`), element("div"));
  list.addEventListener(
    "toggle",
    () =>
      table(list.lastElementChild, {
        caption: "Products of the map",
        heads: [{ title: "Product" }, ...fields.map((title) => ({ title }))],
        rows: data.ids.map((id, at) => [
          { text: id, open: page.pictures ? () => open(at) : null },
          ...Object.values(data.fields).map((field) => field.values[field.of[at]] ?? "–"),
        ]),
        first: 50,
      }),
    { once: true },
  );

  const drawnOf = data.count > data.ids.length ? `${count(data.ids.length)} of the ${count(data.count)} products` : `The ${many(data.count, "product", "products")}`;
  container.replaceChildren(
    element(
      "p",
      { class: "quiet" },
      `${drawnOf} of the test part, by ${data.way} of what the search compares. What it takes for alike lies together; ` +
        (data.way === "PCA" ? "" : "how far heaps are from each other, and how wide they are, says nothing. ") +
        "Point at a product to see it, click to open it; drag the map, and zoom by the buttons or Ctrl and the wheel.",
    ),
    controls,
    element("div", { class: "map-parts" }, box, element("div", {}, legend, card)),
    list,
  );
  side = canvas.clientWidth;
  choices();
  touched();
  new ResizeObserver(() => {
    side = canvas.clientWidth;
    draw();
  }).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  // The page is light on paper: it says so before this, for it was asked first.
  addEventListener("beforeprint", drawNow);
  addEventListener("afterprint", draw);
  move(0, 0);
}

const searchMap = () => whenSeen("map-shown", "map", mapOf);
