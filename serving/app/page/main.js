/** The page: a state, what follows from it, and what people do to it. */

import * as api from "./api.js";
import { detailWindow } from "./detail.js";
import { byId, button, control, count, element, isolated, link, many, shortened, titled } from "./elements.js";
import { filters } from "./filters.js";
import { fieldsOfLevels, knownOf, nameField, split } from "./labels.js";
import { EMPTY_CATALOG, LOST, NOTHING_CLOSE, NOTHING_CLOSE_TO_ALL, NO_INDEX, message, titleOf } from "./messages.js";
import { picking } from "./picking.js";
import { queryPicture } from "./query.js";
import { nameOf, resultList } from "./results.js";
import { whatIsSeen } from "./seen.js";
import { asksTheSame, fromAddress, keep, kept, NOTHING, toAddress, toMemory } from "./state.js";
import { weighing } from "./weights.js";

const NUMBERS = [15, 30, 60, 100];
const SOON = 200;
const RETRY = 3000;
const WATCH = 5000;
const MOST_ANSWERS = 20;
const NO_FACETS = { count: null, fields: {} };

let state = fromAddress(location.search, history.state);
let models = null;
/** Of the last search that was answered: the answer, and the state that asked. */
let found = null;
let counted = NO_FACETS;
let pinned = "";
let [searching, counting, seeing] = [new AbortController(), new AbortController(), new AbortController()];
let [searchedState, countedKey, detailKey] = [null, "", ""];
let retry = null;
let watch = null;
/** While the browser goes back, which takes it a moment. */
let leaving = null;
/** Answers that Back and Forward find again, by the address and the picture. */
const answers = new Map();
/** The fields that are compared and counted, by model and version. */
const vocabularies = new Map();

const hasQuery = () => Boolean(state.id || (state.picture && kept(state.picture)));
const modelNow = () => models?.models.find(({ name }) => name === (state.model || models.default)) ?? null;
const blocksNow = () =>
  (modelNow()?.blocks ?? []).map(({ name, weight }) => ({ name, weight: state.weights[name] ?? weight }));
const facetsNow = () => vocabularies.get(`${state.model}/${state.version}`) ?? {};
const addressed = (of) => `${of.picture} ${of.crop} ${toAddress(of)}`;
const keyOf = (of) => addressed({ ...of, show: "", against: "" });

/** Goes on with a changed state; `replace` where Back is not to come by the one before. */
function go(changed, { replace = false, ...memory } = {}) {
  if (leaving) {
    leaving.then(() => go(changed, { replace, ...memory }));
    return;
  }
  const before = addressed(state);
  state = { ...state, ...changed };
  const put = replace || addressed(state) === before ? "replaceState" : "pushState";
  history[put]({ ...toMemory(state), ...memory }, "", toAddress(state));
  update();
}

/** Another picture or product is searched; filters and weights stay. */
const begin = (query) => {
  byId("notice").replaceChildren();
  productId.value = query.id ?? "";
  go({ id: "", picture: null, crop: null, exclude: [], show: "", against: "", ...query });
};

function like(id) {
  begin({ id });
  scrollTo({ top: 0 });
  byId("results-title").focus({ preventScroll: true });
}

const wantFilter = (field, value, is) =>
  go({
    where: is
      ? [...state.where, [field, value]]
      : state.where.filter(([name, of]) => name !== field || of !== value),
  });

const open = (id, against = "") => go({ show: id, against }, { opened: true });

function pin(id) {
  if (pinned && pinned !== id) {
    const first = pinned;
    showPinned("");
    open(id, first);
  } else {
    showPinned(pinned ? "" : id);
  }
}

const productId = picking(byId("ways"), {
  picture: (blob) => begin({ picture: keep(blob) }),
  id: (id) => begin({ id }),
  refused: (title, sentence) => byId("notice").replaceChildren(message("warn", title, [sentence])),
});

const query = queryPicture(byId("stage"), { region: (crop) => go({ crop }) });

const seen = whatIsSeen(byId("seen"), {
  only: (field, value) =>
    state.where.some(([name, of]) => name === field && of === value) || wantFilter(field, value, true),
  async where(level, label) {
    const signal = anew("seeing");
    query.heat(null);
    showSeen();
    if (label) {
      await asking(async () => {
        const answer = await api.explain(state, { label: [level, label] }, signal);
        query.heat(answer.query.label?.map ?? null);
      }, signal);
    }
  },
  async ask() {
    const signal = anew("seeing");
    await asking(async () => {
      found.predicted = (await api.predict(state, signal)).seen;
      showSeen();
    }, signal);
  },
});

const facets = filters(byId("facets"), wantFilter);

const weights = weighing(byId("sliders"), (changed) =>
  // Back comes by the weights that were rested at, not by each.
  go({ weights: changed }, { replace: Boolean(history.state?.weighed), weighed: true }),
);

const list = resultList(byId("list"), {
  address: (id) => api.pictureAddress(state, id),
  doubles: async (id) => (await api.product(state, id)).doubles,
  open: (id) => open(id),
  exclude: (id) => go({ exclude: [...state.exclude, id] }),
  like,
  pin,
});

const detail = detailWindow({
  address: (id) => api.pictureAddress(state, id),
  explain: (result, against, label, signal) =>
    api.explain(against ? { ...state, id: against, picture: null, crop: null } : state, { result, label }, signal),
  move: (id) => go({ show: id }, { replace: true, opened: history.state?.opened }),
  like,
  exclude: (id) => go({ exclude: [...state.exclude, id], show: "", against: "" }),
  pin(id) {
    showPinned(id);
    detail.close();
  },
  close() {
    const last = state.show;
    if (last) {
      if (history.state?.opened) {
        leaving = new Promise((resolve) => addEventListener("popstate", resolve, { once: true }));
        leaving.then(() => (leaving = null));
        history.back();
      } else {
        go({ show: "", against: "" }, { replace: true });
      }
      list.focus(last);
    }
  },
});

/** A signal that says when it is asked again; what was asked before is given up. */
function anew(what) {
  const of = new AbortController();
  if (what === "seeing") {
    seeing.abort();
    seeing = of;
  } else if (what === "counting") {
    counting.abort();
    counting = of;
  } else {
    searching.abort();
    searching = of;
  }
  return of.signal;
}

/** Asks for something beside the results, and says what went wrong with it. */
async function asking(task, signal) {
  byId("notice").replaceChildren();
  try {
    await task();
  } catch (error) {
    if (!signal.aborted) {
      byId("notice").replaceChildren(message("warn", titleOf(error.status), [error.message]));
    }
  }
}

function showModels() {
  const model = modelNow();
  byId("catalog").replaceChildren(
    ...(model
      ? [many(model.products, "product", "products"), models.models.length > 1 ? "" : [", model ", isolated(model.name)], model.engine ? `, searched by ${model.engine}` : ""].flat()
      : []),
  );
  const controls = [];
  if (models?.models.length > 1) {
    const select = element(
      "select",
      { id: "model", onchange: () => go({ model: select.value, version: "", ...usable(select.value) }) },
      models.models.map(({ name }) => element("option", { value: name, selected: name === model?.name }, name)),
    );
    controls.push(control("Model", select));
  }
  if (model) {
    const versions = model.versions.map(({ version, products, live }) =>
      element(
        "option",
        { value: version, selected: String(version) === state.version, },
        `${version}: ${many(products, "product", "products")}${live ? "" : ", by ids alone"}`,
      ),
    );
    const gone = state.version && !model.versions.some(({ version }) => String(version) === state.version);
    const select = element(
      "select",
      { id: "version", onchange: () => go({ version: select.value }) },
      element("option", { value: "" }, `newest (${model.version})`),
      gone ? element("option", { value: state.version, selected: true }, `${state.version}: gone`) : null,
      versions,
    );
    controls.push(control("Version", select));
  }
  const focused = document.activeElement?.id;
  byId("models").replaceChildren(...controls);
  if (focused === "model" || focused === "version") {
    byId(focused)?.focus();
  }
}

/** Of weights and filters, those that another model knows. */
function usable(name) {
  const model = models.models.find((of) => of.name === name);
  return {
    weights: Object.fromEntries(
      Object.entries(state.weights).filter(([block]) => model.blocks.some((of) => of.name === block)),
    ),
    where: state.where.filter(([field]) => model.fields.includes(field)),
  };
}

function showOptions() {
  if (!byId("k")) {
    const numbers = element("select", { id: "k", onchange: () => go({ k: Number(numbers.value) }) });
    const box = (name, words, title) =>
      control(words, element("input", { type: "checkbox", id: name, title, onchange: ({ target }) => go({ [name]: target.checked }) }), "inline");
    byId("options").append(
      control("Products", numbers, "inline"),
      box("fold", "One of each double"),
      box("expand", "Expand", "The query moves towards what it finds first: more of a kind, fewer surprises"),
      box("exact", "Compare every product"),
    );
  }
  const numbers = [...new Set([...NUMBERS, state.k])].sort((one, other) => one - other);
  byId("k").replaceChildren(...numbers.map((number) => new Option(number, number, false, number === state.k)));
  for (const name of ["fold", "expand", "exact"]) {
    byId(name).checked = state[name];
  }
  const always = Boolean(modelNow()?.exact);
  byId("exact").disabled = always;
  byId("exact").checked = always || state.exact;
  byId("exact").title = always ? "An index of this size always does" : "Slower, and nothing nearer is missed";
}

function showChips() {
  const chip = (words, remove) =>
    element(
      "li",
      {},
      element(
        "button",
        { type: "button", class: "chip", onclick: remove },
        element("span", { class: "hidden" }, "Remove "),
        words,
        element("span", { "aria-hidden": "true" }, " ✕"),
      ),
    );
  const focused = [...byId("chips").querySelectorAll("button")].indexOf(document.activeElement);
  const chips = [
    ...state.where.map(([field, value]) =>
      chip([isolated(titled(field)), ": ", isolated(shortened(value, 40))], () => wantFilter(field, value, false)),
    ),
    ...state.exclude.map((id) =>
      chip(["not ", isolated(shortened(id, 40))], () => go({ exclude: state.exclude.filter((of) => of !== id) })),
    ),
  ];
  if (chips.length > 1) {
    chips.push(element("li", {}, link("Clear all", () => go({ where: [], exclude: [] }))));
  }
  byId("chips").replaceChildren(...chips);
  byId("chips").hidden = !chips.length;
  if (focused >= 0) {
    const left = byId("chips").querySelectorAll("button");
    (left[Math.min(focused, left.length - 1)] ?? byId("results-title")).focus();
  }
}

function showQuery() {
  byId("stage").hidden = !hasQuery();
  if (!hasQuery()) {
    return;
  }
  const fields = found?.state.id === state.id ? found.answer.query.fields : null;
  const name = nameOf(fields, nameFieldNow());
  query.show(
    state.id
      ? {
          address: api.pictureAddress(state, state.id),
          alt: `The query: ${name ? `${shortened(name, 90)}, ` : ""}product ${shortened(state.id, 90)}`,
        }
      : {
          address: kept(state.picture).address,
          alt: "The query: your picture",
          missing: "The browser cannot draw this file.",
        },
    state.crop,
    shortened(state.id, 90),
    shortened(name, 120),
  );
}

const nameFieldNow = () => nameField(modelNow()?.fields ?? [], facetsNow());

const levelsNow = () => fieldsOfLevels(modelNow()?.labels ?? {}, facetsNow());

function showSeen() {
  const labels = found?.answer.query.seen ?? found?.predicted ?? null;
  byId("seen").hidden = !found || !hasQuery();
  const levels = levelsNow();
  const fields = facetsNow();
  seen.show(labels, {
    mapped: (level) => Boolean(modelNow()?.explains && Object.hasOwn(modelNow().labels, level)),
    filterOf(level, label) {
      const [field, value] = level === "attributes" ? split(label) : [levels.get(level), label];
      return fields[field]?.some((of) => of.value === value) ? [field, value] : null;
    },
  });
}

function showPinned(id) {
  pinned = id;
  list.pin(id);
  const bar = byId("compare");
  bar.hidden = !id;
  document.documentElement.classList.toggle("comparing", Boolean(id));
  if (!id) {
    bar.replaceChildren();
    return;
  }
  const field = element("input", { id: "compare-id", autocomplete: "off", spellcheck: "false" });
  bar.replaceChildren(
    element("img", { src: api.pictureAddress(state, id), alt: "", width: "36", height: "48" }),
    element("p", {}, isolated(shortened(id, 40)), ": choose Compare on another product"),
    element(
      "form",
      {
        onsubmit: (event) => {
          event.preventDefault();
          if (field.value.trim()) {
            pin(field.value.trim());
          }
        },
      },
      element("label", { for: "compare-id" }, "or its id"),
      field,
      element("button", { class: "plain" }, "Compare"),
    ),
    button("Cancel", () => {
      showPinned("");
      list.focus(id);
    }, { class: "plain" }),
  );
}

async function loadFacets() {
  const key = JSON.stringify([state.model, state.version, state.where]);
  if (key === countedKey) {
    return;
  }
  countedKey = key;
  const signal = anew("counting");
  const asked = state;
  try {
    counted = await api.facets(asked, signal);
    const of = `${asked.model}/${asked.version}`;
    if (!vocabularies.has(of)) {
      vocabularies.set(of, Object.fromEntries(Object.entries(counted.fields).map(([field, { values }]) => [field, values])));
    }
    facets.show(counted, asked.where);
  } catch {
    // The search says what is wrong; the filters stay as they were until it is answered.
    if (!signal.aborted) {
      countedKey = "";
    }
  }
}

/** Searches, if what is asked for is not what is shown; `cached` takes an answer from before. */
async function search({ cached = false } = {}) {
  if (searchedState && asksTheSame(searchedState, state)) {
    return;
  }
  const asked = state;
  searchedState = asked;
  const signal = anew("searching");
  stopRetrying();
  seen.forget();
  query.heat(null);
  const before = cached ? answers.get(keyOf(asked)) : null;
  byId("list").setAttribute("aria-busy", "true");
  // What is answered at once does not flicker.
  const soon = setTimeout(() => {
    byId("count").textContent = "Searching …";
    if (!found) {
      list.wait(Math.min(asked.k, 30));
    }
  }, SOON);
  try {
    const counts = loadFacets();
    const answer = before ?? (await api.search(asked, signal));
    await counts;
    if (signal.aborted) {
      return;
    }
    found = { answer, state: asked, predicted: null };
    answers.set(keyOf(asked), answer);
    if (answers.size > MOST_ANSWERS) {
      answers.delete(answers.keys().next().value);
    }
    showFound();
    if (!asked.version && modelNow() && answer.version !== modelNow().version) {
      models = await api.models();
      showModels();
    }
  } catch (error) {
    if (!signal.aborted) {
      searchedState = null;
      showRefused(error);
    }
  } finally {
    clearTimeout(soon);
    if (!signal.aborted) {
      byId("list").removeAttribute("aria-busy");
    }
  }
}

function showFound() {
  const { answer } = found;
  const model = modelNow();
  const number = answer.results.length;
  const all = counted.count ?? model?.products;
  byId("count").replaceChildren(
    number
      ? `${count(number)} of ${many(all, "product", "products")}${state.where.length ? " that pass the filters" : ""}, the nearest first`
      : "No products",
    element("span", { class: "quiet" }, number ? ` · ${answer.exact ? "every one compared" : "searched approximately"} · ${count(Math.round(answer.took_ms))} ms` : ""),
  );
  if (model && !model.products) {
    byId("message").replaceChildren(message("warn", ...EMPTY_CATALOG));
  } else if (!number) {
    byId("message").replaceChildren(
      message(
        "warn",
        "No product is left",
        [state.where.length || state.exclude.length ? "None passes these filters." : "The catalog has no other product."],
        ...(state.where.length || state.exclude.length ? [clearing()] : []),
      ),
    );
  } else {
    byId("message").replaceChildren(...(answer.nothing_close ? [message("warn", ...(state.crop ? NOTHING_CLOSE : NOTHING_CLOSE_TO_ALL))] : []));
  }
  list.show(answer.results, {
    blocks: blocksNow(),
    known: knownOf(answer.query, levelsNow(), facetsNow()),
    nameField: nameFieldNow(),
    pinned,
  });
  const next = NUMBERS.find((number) => number > state.k);
  byId("more").replaceChildren(
    ...(number === state.k && next && number < all ? [button("Show more", () => go({ k: next }), { class: "plain" })] : []),
  );
  showQuery();
  showSeen();
  detail.among(list.ids);
}

const clearing = () => button("Clear the filters", () => go({ where: [], exclude: [] }), { class: "plain" });

/** Says why there are no products, and goes on by itself where that may pass. */
function showRefused(error) {
  list.clear();
  byId("more").replaceChildren();
  found = null;
  showSeen();
  const again = () => {
    stopRetrying();
    start();
  };
  const actions = [];
  if (error.isPassing) {
    actions.push(button("Try again", again));
    keepRetrying(error.retryAfter, again);
  } else if (error.status === 400 && state.where.length) {
    actions.push(clearing());
  } else if (error.status === 404 && state.version) {
    actions.push(button("Take the newest version", () => go({ version: "" }), { class: "plain" }));
  }
  byId("message").replaceChildren(
    message("bad", titleOf(error.status), [error.message, error.isPassing ? "The page looks again every few seconds, and goes on by itself." : ""], ...actions),
  );
  byId("count").replaceChildren(element("span", { class: "hidden" }, titleOf(error.status)));
}

function keepRetrying(seconds, again) {
  let wait = seconds ? seconds * 1000 : RETRY;
  const look = async () => {
    if (!document.hidden && (seconds || (await api.isReady()))) {
      if (retry !== null) {
        again();
      }
      return;
    }
    if (retry !== null) {
      wait = Math.min(wait * 1.5, 15_000);
      retry = setTimeout(look, wait);
    }
  };
  retry = setTimeout(look, wait);
}

function stopRetrying() {
  clearTimeout(retry);
  retry = null;
}

async function showDetail() {
  const key = JSON.stringify([state.show, state.against, state.show && [state.id, state.picture, state.crop, state.weights, state.model, state.version]]);
  if (key === detailKey) {
    return;
  }
  detailKey = key;
  const asked = state;
  if (!asked.show) {
    detail.close();
    return;
  }
  const isOfQuery = !asked.against && hasQuery();
  const hit = isOfQuery && found ? found.answer.results.find(({ id }) => id === asked.show) : null;
  const told = api.product(asked, asked.show);
  const about = {
    id: asked.show,
    against: asked.against,
    hit: hit ?? null,
    ids: asked.against ? [] : list.ids,
    blocks: blocksNow(),
    labels: modelNow()?.labels ?? {},
    explains: Boolean(modelNow()?.explains),
    facetFields: new Set(Object.keys(facetsNow())),
    nameField: nameFieldNow(),
    isExpanded: asked.expand && !asked.against,
    doubles: told.then(({ doubles }) => doubles),
    query: null,
  };
  about.doubles.catch(() => {});
  try {
    const fields = hit?.fields ?? (await told).fields;
    if (asked.against) {
      const other = await api.product(asked, asked.against);
      about.query = { id: asked.against, fields: other.fields, address: api.pictureAddress(asked, asked.against), alt: `Product ${shortened(asked.against, 90)}` };
    } else if (isOfQuery) {
      about.query = {
        id: asked.crop ? "" : asked.id,
        crop: asked.crop,
        fields: asked.id && !asked.crop ? (found?.answer.query.fields ?? (await api.product(asked, asked.id)).fields) : null,
        address: asked.id ? api.pictureAddress(asked, asked.id) : kept(asked.picture).address,
        alt: asked.id ? `The query, product ${shortened(asked.id, 90)}` : "The query: your picture",
        missing: "The browser cannot draw this file.",
      };
    }
    if (key === detailKey) {
      detail.show({ ...about, fields });
    }
  } catch (problem) {
    if (key === detailKey) {
      detail.show({ ...about, fields: {}, problem });
    }
  }
}

/** Makes the page what the state says. */
function update(how) {
  const lost = state.picture && !kept(state.picture);
  document.body.dataset.state = hasQuery() ? "asked" : "begin";
  document.title = state.id ? `Like ${shortened(state.id, 60)}: visual search` : "Visual search";
  byId("results-title").replaceChildren(...(state.id ? ["Products like ", isolated(shortened(state.id, 60))] : ["Products like the picture"]));
  showModels();
  const model = modelNow();
  weights.show(model?.blocks ?? [], state.weights);
  showOptions();
  showChips();
  showQuery();
  if (lost) {
    byId("notice").replaceChildren(message("warn", ...LOST));
  }
  const problem = cannotSearch(model);
  byId("problem")?.remove();
  if (problem) {
    document.querySelector("main").prepend(element("div", { id: "problem" }, problem));
  }
  clearTimeout(watch);
  if (models && !model?.ready) {
    watch = setTimeout(() => (document.hidden ? update() : start()), WATCH);
  }
  if (hasQuery() && models?.models.length) {
    search(how);
  } else {
    searchedState = null;
    found = null;
    list.clear();
    byId("message").replaceChildren();
    byId("count").textContent = "";
  }
  if (models) {
    showDetail();
  }
}

/** Why there is nothing to search, as a message; null where there is. */
function cannotSearch(model) {
  if (!models) {
    return null;
  }
  if (!models.models.length) {
    return message("warn", ...NO_INDEX, button("Look again", start));
  }
  if (!model) {
    return message(
      "warn",
      "This model is not here",
      [`There is no model "${shortened(state.model, 60)}" with an index.`],
      button("Take the usual one", () => go({ model: "", version: "" }), { class: "plain" }),
    );
  }
  if (model.problem) {
    return message("warn", "This model cannot be searched just now", [model.problem]);
  }
  return model.products ? null : message("warn", ...EMPTY_CATALOG);
}

async function start() {
  try {
    models = await api.models();
  } catch (error) {
    showAway(error);
    return;
  }
  byId("problem")?.remove();
  update({ cached: true });
}

/** Nothing is known yet, and nobody answers. */
function showAway(error) {
  const again = () => {
    stopRetrying();
    start();
  };
  if (hasQuery()) {
    document.body.dataset.state = "asked";
    showQuery();
    showRefused(error);
    return;
  }
  byId("problem")?.remove();
  document
    .querySelector("main")
    .prepend(
      element(
        "div",
        { id: "problem" },
        message("bad", titleOf(error.status), [error.message, "The page looks again every few seconds, and goes on by itself."], button("Try again", again)),
      ),
    );
  keepRetrying(error.retryAfter, again);
}

addEventListener("popstate", (event) => {
  const before = state;
  state = fromAddress(location.search, event.state);
  if (state.id !== before.id) {
    productId.value = state.id;
  }
  update({ cached: true });
});

const isWide = matchMedia("(min-width: 62rem)").matches;
byId("filters").open = isWide;
byId("weights").open = isWide;
productId.value = state.id;
if (state.picture || state.id !== NOTHING.id) {
  history.replaceState({ ...history.state, opened: false }, "");
}
start();
