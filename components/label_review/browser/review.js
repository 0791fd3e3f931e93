/** Works through the labels that are probably wrong: decisions, keys, and the file they go into. */

const byId = (id) => document.getElementById(id);

const isolated = (text) => element("bdi", {}, text);

const keyOf = (row) => JSON.stringify([row.id, row.level, row.given]);

/** What was decided, by the row's key: {decision, lines}, in the order in which it was decided. */
const decisions = new Map();

const undone = [];

const KEPT_UNDER = `seamline label review ${page.name}`;

let isKept = true;
try {
  for (const [key, decision] of JSON.parse(localStorage.getItem(KEPT_UNDER) ?? "[]")) {
    decisions.set(key, decision);
  }
} catch {
  isKept = false;
}

function remember() {
  try {
    localStorage.setItem(KEPT_UNDER, JSON.stringify([...decisions]));
  } catch {
    isKept = false;
  }
}

let [level, shown, at] = ["", "open", 0];

const isShown = (row) => {
  const decided = decisions.get(keyOf(row))?.decision;
  return (!level || row.level === level) && (shown === "all" || (decided ?? "open") === shown);
};

/** The next row from a place on that is to be shown, or -1; `by` is 1 or -1. */
function found(from, by) {
  for (let place = from; place >= 0 && place < page.rows.length; place += by) {
    if (isShown(page.rows[place])) {
      return place;
    }
  }
  return -1;
}

/** Fills a tile with a product's picture. */
function fill(tile, picture, id) {
  tile.setAttribute("aria-label", `Picture of product ${id}`);
  paint(tile, picture);
}

/** The sheets of the rows to come are asked for before they are needed. */
function fetchAhead(place) {
  for (const row of page.rows.slice(place + 1, place + 6)) {
    for (const picture of [row.picture, ...row.near.map((one) => one.picture)]) {
      new Image().src = sheetFile(sheetOf(picture));
    }
  }
}

/** What of a row can be changed: its level, and the sub-category with its category. */
function fieldsOf(row) {
  const own = { level: row.level, given: row.given, suggested: row.suggested };
  if (row.level !== "category") {
    return [own];
  }
  return [own, { level: "subcategory", given: row.subcategory, suggested: row.suggestedSubcategory }];
}

const listOf = (cell) => (cell.startsWith("[") ? JSON.parse(cell) : cell ? cell.split("|") : []);

const cellOf = (labels) => {
  const sorted = [...labels].sort();
  return sorted.some((one) => one.includes("|")) ? JSON.stringify(sorted) : sorted.join("|");
};

function show() {
  const row = at >= 0 ? page.rows[at] : null;
  byId("card").hidden = !row;
  byId("done").hidden = Boolean(row);
  tell();
  if (!row) {
    return;
  }
  const title = page.titles[row.level] ?? row.level;
  byId("what").replaceChildren(`${title} of `, isolated(row.id));
  fill(byId("picture"), row.picture, row.id);
  const decided = decisions.get(keyOf(row));
  const words = { keep: "kept", change: "changed", unsure: "unsure" };
  byId("state").textContent =
    `${count(at + 1)} of ${count(page.rows.length)}; how likely it is wrong: ${row.score.toFixed(2).replace(/^0/, "")}` +
    (decided ? `; you decided: ${words[decided.decision]}` : "");
  const terms = [];
  for (const field of fieldsOf(row)) {
    const name = page.titles[field.level] ?? field.level;
    terms.push(
      element("dt", {}, `${name} given`),
      element("dd", { class: "given" }, isolated(field.given || "none")),
      element("dt", {}, `${name} suggested`),
      element("dd", { class: "suggested" }, isolated(field.suggested || "none")),
    );
  }
  byId("labels").replaceChildren(...terms);
  byId("reasons").replaceChildren(...row.reasons.map((reason) => element("li", {}, isolated(reason))));
  byId("fields").replaceChildren(...fieldsOf(row).map((field) => control(field, decided)));
  byId("near").replaceChildren(
    ...row.near.map((one) => {
      const tile = element("div", { class: "tile", role: "img" });
      fill(tile, one.picture, one.id);
      return element("li", {}, tile, element("p", {}, isolated(one.label)), element("p", { class: "quiet" }, isolated(one.id)));
    }),
  );
  byId("undo").disabled = !undone.length;
  byId("previous").disabled = found(at - 1, -1) < 0;
  byId("next").disabled = found(at + 1, 1) < 0;
  fetchAhead(at);
}

/** A choice of the label that shall be there instead. */
function control(field, decided) {
  const several = page.several.includes(field.level);
  const id = `to-${field.level}`;
  const before = decided?.lines.find((line) => line[1] === field.level && line[3] === "change");
  const chosen = before ? before[4] : field.suggested;
  const wanted = several ? listOf(chosen) : [chosen];
  const select = element("select", { id, "data-level": field.level, "data-given": field.given });
  select.multiple = several;
  for (const label of page.labels[field.level]) {
    const option = element("option", { value: label }, label);
    option.selected = wanted.includes(label);
    select.append(option);
  }
  const name = page.titles[field.level] ?? field.level;
  return element("div", { class: "control" }, element("label", { for: id }, `Change ${name} to`), select);
}

function tell() {
  const numbers = { keep: 0, change: 0, unsure: 0 };
  for (const row of page.rows) {
    const decided = decisions.get(keyOf(row));
    if (decided) {
      numbers[decided.decision] += 1;
    }
  }
  const all = numbers.keep + numbers.change + numbers.unsure;
  byId("progress").value = all / page.rows.length;
  byId("told").textContent =
    `${count(all)} of ${count(page.rows.length)} decided: ${count(numbers.keep)} kept, ` +
    `${count(numbers.change)} changed, ${count(numbers.unsure)} unsure.` +
    (isKept ? "" : " This browser keeps nothing: save before you close the page.");
}

const say = (words) => {
  byId("status").textContent = words;
};

function decide(decision) {
  const row = at >= 0 ? page.rows[at] : null;
  if (!row) {
    return;
  }
  const lines = [];
  if (decision === "change") {
    for (const select of byId("fields").querySelectorAll("select")) {
      const [of, given] = [select.dataset.level, select.dataset.given];
      const to = select.multiple
        ? cellOf([...select.selectedOptions].map((option) => option.value))
        : select.value;
      if (to !== given) {
        lines.push([row.id, of, given, "change", to]);
      }
    }
    if (!lines.length) {
      say("Nothing would change: choose another label, or keep this one.");
      return;
    }
  } else {
    lines.push([row.id, row.level, row.given, decision, ""]);
  }
  const key = keyOf(row);
  undone.push([key, decisions.get(key), at]);
  // Decided anew, it goes to the end: lines are applied in their order.
  decisions.delete(key);
  decisions.set(key, { decision, lines });
  remember();
  const words = { keep: "Kept", change: "Changed", unsure: "Unsure" };
  const next = found(at + 1, 1);
  at = next >= 0 ? next : found(0, 1);
  if (shown === "all" && next < 0) {
    at = page.rows.length - 1;
  }
  show();
  const now = at >= 0 ? page.rows[at] : null;
  say(`${words[decision]}. ${now ? `Next: ${byId("what").textContent}, ${now.given}, suggested ${now.suggested}.` : "Nothing is left here."}`);
  if (!now) {
    byId("done-title").focus();
  }
}

function undo() {
  const last = undone.pop();
  if (!last) {
    return;
  }
  const [key, before, place] = last;
  decisions.delete(key);
  if (before) {
    decisions.set(key, before);
  }
  remember();
  at = place;
  show();
  say(`Undone: ${byId("what").textContent}.`);
  if (document.activeElement === document.body || byId("done").contains(document.activeElement)) {
    byId("what").focus();
  }
}

function move(by) {
  const place = found(at + by, by);
  if (place >= 0) {
    at = place;
    show();
    say(`${byId("what").textContent}, ${page.rows[at].given}, suggested ${page.rows[at].suggested}.`);
  }
}

/** A cell as a workbook takes it for text, and as a CSV holds it. */
function cell(text) {
  const safe = /^'*[=+\-@\t\r\n]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** The whole file: what was decided before, and what was decided here. */
function corrections() {
  const lines = [...decisions.values()].flatMap((one) => one.lines);
  const told = new Set(lines.map((line) => JSON.stringify(line.slice(0, 3))));
  // What nobody could tell before may have been decided now; and no line is there twice.
  const before = page.earlier.filter(
    (line) => line[3] === "change" ? !lines.some((one) => String(one) === String(line)) : !told.has(JSON.stringify(line.slice(0, 3))),
  );
  const rows = [["id", "level", "given", "decision", "corrected"], ...before, ...lines];
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

function save() {
  const blob = new Blob(["\ufeff", corrections()], { type: "text/csv;charset=utf-8" });
  const anchor = element("a", { href: URL.createObjectURL(blob), download: "corrections.csv" });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
  say("corrections.csv is saved.");
}

const KEYS = {
  k: () => decide("keep"),
  c: () => decide("change"),
  u: () => decide("unsure"),
  z: undo,
  o: () => byId("fields").querySelector("select")?.focus(),
  ArrowRight: () => move(1),
  ArrowLeft: () => move(-1),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("select, input, textarea");
  const own = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!own || typing || event.ctrlKey || event.metaKey || event.altKey || !byId("letters").checked) {
    // From the choice of a label back to the decision.
    if (event.key === "Escape" && typing) {
      byId("change").focus();
    }
    return;
  }
  event.preventDefault();
  own();
});

for (const decision of ["keep", "change", "unsure"]) {
  byId(decision).addEventListener("click", () => decide(decision));
}
byId("undo").addEventListener("click", undo);
byId("undo-last").addEventListener("click", undo);
byId("previous").addEventListener("click", () => move(-1));
byId("next").addEventListener("click", () => move(1));
byId("save").addEventListener("click", save);

const levels = [...new Set(page.rows.map((row) => row.level))];
byId("level").append(
  element("option", { value: "" }, "all"),
  ...levels.map((one) => element("option", { value: one }, page.titles[one] ?? one)),
);
byId("level").addEventListener("change", (event) => {
  level = event.target.value;
  at = found(0, 1);
  show();
});
byId("shown").addEventListener("change", (event) => {
  shown = event.target.value;
  at = found(0, 1);
  show();
});

at = found(0, 1);
show();
