/** Products: their pictures, the lists that figures open, mistakes, and what changed since last. */

const NOBODY_KNOWS = -2;

/** Products of the list that a level says something of. */
const isKnown = (of, at) => of.truth[at] !== NOBODY_KNOWS;

const isWrong = (of, at) => isKnown(of, at) && of.truth[at] !== of.answer[at];

const label = (of, code) => (code < 0 ? "(not in the train part)" : of.labels[code]);

/** The places of products that are chosen, at most as many as there are. */
function choose(products, chosen) {
  return products.ids.map((_, at) => at).filter((at) => chosen(at));
}

/** A product's picture out of its sheet, asked for when it comes into view, or as `asked` says. */
function picture(products, at, asked = whenNear) {
  const name = `Product ${products.ids[at]}`;
  if (at >= Math.min(products.pictures, page.pictures)) {
    return element("div", { class: "no-image" }, "no picture here");
  }
  const box = element("div", { class: "picture", role: "img", "aria-label": name });
  asked(box, async () => {
    paint(box, at, page.inside ? (await load("sheets"))[sheetOf(at)] : undefined);
  });
  return box;
}

/** A line of a card: what was answered on a level, and what is true where that is something else. */
function answered(title, of, at) {
  const wrong = isWrong(of, at);
  const known = isKnown(of, at);
  const words = wrong ? "wrong" : known ? "right" : "nobody knows";
  return element(
    "p",
    { class: "level" },
    element(
      "span",
      { class: wrong ? "wrong" : known ? "right" : null },
      element("span", { class: "hidden" }, `${title}, ${words}: `),
      element("span", { "aria-hidden": "true" }, wrong ? "✕\u00a0" : known ? "✓\u00a0" : ""),
      element("bdi", {}, label(of, of.answer[at])),
    ),
    element("small", {}, ` ${figure(of.score[at] / 1000, 2)}`),
    wrong ? [element("br"), element("small", {}, "is ", element("bdi", {}, label(of, of.truth[at])))] : null,
    of.last && of.last[at] !== of.answer[at]
      ? [element("br"), element("small", {}, "before ", element("bdi", {}, label(of, of.last[at])))]
      : null,
  );
}

function card(products, at, more) {
  const levels = Object.entries(products.levels).filter(
    ([name, of], place) => place < 2 || isWrong(of, at) || name === more.level,
  );
  return element(
    "li",
    { class: Object.values(products.levels).some((of) => isWrong(of, at)) ? "wrong" : "right" },
    picture(products, at),
    element(
      "div",
      {},
      element("p", { class: "id" }, element("bdi", {}, products.ids[at])),
      levels.map(([name, of]) => answered(page.titles[name] ?? name, of, at)),
      more.says ? more.says(at) : null,
    ),
  );
}

/** Cards of the products at some places, a page of them at a time. */
function gallery(container, products, places, more = {}) {
  const list = element("ul", { class: "gallery" });
  const next = element("p", {});
  let shown = 0;
  const grow = (by) => {
    list.append(...places.slice(shown, shown + by).map((at) => card(products, at, more)));
    shown += by;
    next.replaceChildren();
    if (shown < places.length) {
      next.append(
        link(`Show ${count(Math.min(60, places.length - shown))} more of ${count(places.length - shown)}`, () => {
          const from = list.children.length;
          grow(60);
          list.children[from].setAttribute("tabindex", "-1");
          list.children[from].focus();
        }),
      );
    }
  };
  container.replaceChildren(list, next);
  grow(more.first ?? 60);
}

/** Opens a window over the page; returns where its contents go. */
function openWindow(title) {
  const contents = element("div");
  const close = () => dialog.close();
  const dialog = element(
    "dialog",
    { "aria-labelledby": "window-title", onclose: () => dialog.remove() },
    element(
      "header",
      {},
      element("h2", { id: "window-title" }, title),
      element("button", { type: "button", class: "close", onclick: close }, "Close"),
    ),
    contents,
  );
  // A click beside the window closes it, as people expect.
  dialog.addEventListener("click", (event) => event.target === dialog && close());
  document.body.append(dialog);
  dialog.showModal();
  return contents;
}

/** Opens the list of the products that are chosen by their places. */
async function openProducts(title, chosen, more = {}) {
  const contents = openWindow(title);
  const products = await loadInto(contents, "products");
  if (!products) {
    return;
  }
  const places = choose(products, (at) => chosen(products, at));
  const list = element("div");
  const told = [many(places.length, "product", "products")];
  if (products.count > products.ids.length) {
    told.push(
      `among the ${count(products.ids.length)} of ${count(products.count)} that the page knows, ` +
        "those that are most surely wrong",
    );
  }
  contents.replaceChildren(element("p", { class: "quiet" }, `${told.join(" ")}.`), list);
  gallery(list, products, places, more);
}

/** Loads data, and says where it is shown if they are not there. */
async function loadInto(container, name) {
  container.replaceChildren(element("p", { class: "quiet", role: "status" }, "Loading …"));
  try {
    return await load(name);
  } catch {
    container.replaceChildren(
      element(
        "p",
        {},
        `The folder ${page.files} is not beside this page, or is of another run. Open the page in ` +
          "the workspace's report folder, or make one file for mail with ",
        element("code", {}, "seamline report WORKSPACE --single-file FILE"),
        ".",
      ),
    );
    return null;
  }
}

/** Draws a part of the page with data of one name, when it comes near. */
function whenSeen(id, name, draw) {
  const container = document.getElementById(id);
  if (!container) {
    return;
  }
  whenNear(container, async () => {
    const data = await loadInto(container, name);
    if (data) {
      draw(container, data);
    }
  });
}

/** The wrong answers of a level that the model was surest of. */
function mistakes() {
  whenSeen("mistakes-shown", "products", (section, products) => {
    const list = element("div");
    const names = Object.keys(products.levels);
    const show = (name) => {
      const of = products.levels[name];
      const places = choose(products, (at) => isWrong(of, at));
      places.sort((a, b) => of.score[b] - of.score[a]);
      if (places.length) {
        gallery(list, products, places, { level: name, first: 24 });
      } else {
        list.replaceChildren(element("p", {}, "Not one answer is wrong."));
      }
    };
    const begin = names.at(Math.min(1, names.length - 1));
    const options = names.map((name) => [name, page.titles[name] ?? name]);
    section.replaceChildren(
      element("div", { class: "controls" }, chooser("Level", options, begin, show)),
      list,
    );
    show(begin);
  });
}

/** The products whose answer became right, and those whose answer became wrong. */
function changes() {
  whenSeen("changes-shown", "products", (section, products) => {
    const wasWrong = (of, at) => isKnown(of, at) && of.truth[at] !== of.last[at];
    const names = Object.keys(products.levels).filter((name) => products.levels[name].last);
    const sides = {
      worse: ["Right before, wrong now", (of, at) => isWrong(of, at) && !wasWrong(of, at)],
      better: ["Wrong before, right now", (of, at) => wasWrong(of, at) && !isWrong(of, at)],
      other: ["Wrong in another way", (of, at) => isWrong(of, at) && wasWrong(of, at) && of.last[at] !== of.answer[at]],
    };
    let [level, side] = [names.at(Math.min(1, names.length - 1)), "worse"];
    const list = element("div");
    const controls = element("div", { class: "controls" });
    const show = () => {
      const of = products.levels[level];
      const options = Object.entries(sides).map(([name, [words, chosen]]) => [
        name,
        `${words}: ${count(choose(products, (at) => chosen(of, at)).length)}`,
      ]);
      controls.replaceChildren(
        chooser("Level", names.map((name) => [name, page.titles[name] ?? name]), level, (to) => {
          level = to;
          show();
        }),
        chooser("Products", options, side, (to) => {
          side = to;
          show();
        }),
      );
      const places = choose(products, (at) => sides[side][1](of, at));
      gallery(list, products, places, { level, first: 24 });
      if (!places.length) {
        list.replaceChildren(element("p", {}, "None."));
      }
    };
    section.replaceChildren(controls, list);
    show();
  });
}
