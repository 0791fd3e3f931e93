/**
 * What is asked for, as the page's address says it: all but the picture, which stays in memory.
 *
 * A state is never changed, only replaced. Its names in the address are the API's.
 */

const SWITCHES = { fold: true, expand: false, exact: false };

export const NOTHING = Object.freeze({
  model: "",
  version: "",
  /** The product that others are to be like, or a picture's key in memory. */
  id: "",
  picture: null,
  /** Left, top, width and height as shares of the upright picture; null for all of it. */
  crop: null,
  where: [],
  exclude: [],
  weights: {},
  k: 15,
  ...SWITCHES,
  /** The product that is looked at, and the one it is held against where that is not the query. */
  show: "",
  against: "",
});

/** The state that an address and what the browser kept with it (`history.state`) stand for. */
export function fromAddress(search, memory) {
  const asked = new URLSearchParams(search);
  // As the server takes them: a value may have another "=", and so may a block's name.
  const pairs = (name, place) =>
    asked.getAll(name).map((text) => {
      const at = place(text);
      return [text.slice(0, Math.max(at, 0)), text.slice(at + 1)];
    });
  const crop = asked.get("crop")?.split(",").map(Number) ?? memory?.crop ?? null;
  const k = Number(asked.get("k") ?? NOTHING.k);
  return {
    ...NOTHING,
    ...Object.fromEntries(["model", "version", "id", "show", "against"].map((name) => [name, asked.get(name) ?? ""])),
    picture: (!asked.get("id") && memory?.picture) || null,
    crop: crop?.length === 4 && crop.every(Number.isFinite) ? crop : null,
    where: pairs("where", (text) => text.indexOf("=")).filter(([field]) => field),
    exclude: asked.getAll("exclude"),
    weights: Object.fromEntries(
      pairs("weight", (text) => text.lastIndexOf("="))
        .map(([block, weight]) => [block, Number(weight)])
        .filter(([block, weight]) => block && weight >= 0 && weight < Infinity),
    ),
    k: Number.isInteger(k) && k > 0 ? k : NOTHING.k,
    ...Object.fromEntries(
      Object.entries(SWITCHES).map(([name, usual]) => [name, asked.has(name) ? asked.get(name) === "true" : usual]),
    ),
  };
}

/** The parameters that say a state; the API's search takes those that `names` leaves. */
export function parametersOf(state, names) {
  const said = new URLSearchParams();
  const say = (name, value) => names.includes(name) && said.append(name, value);
  for (const name of ["model", "version", "id", "show", "against"]) {
    if (state[name]) {
      say(name, state[name]);
    }
  }
  if (state.crop) {
    say("crop", state.crop.map((share) => Number(share.toFixed(4))).join(","));
  }
  state.where.forEach(([field, value]) => say("where", `${field}=${value}`));
  state.exclude.forEach((id) => say("exclude", id));
  Object.entries(state.weights).forEach(([block, weight]) => say("weight", `${block}=${weight}`));
  if (state.k !== NOTHING.k) {
    say("k", state.k);
  }
  for (const [name, usual] of Object.entries(SWITCHES)) {
    if (state[name] !== usual) {
      say(name, state[name]);
    }
  }
  return said;
}

/** What searches are told; what facets and explanations take is in `api.js`. */
export const SEARCHED = ["model", "version", "crop", "where", "exclude", "weight", "k", ...Object.keys(SWITCHES)];

/** The address of a state. A crop of a picture that is only in memory is kept with it there. */
export function toAddress(state) {
  const shown = { ...state, crop: state.id ? state.crop : null };
  const said = parametersOf(shown, [...SEARCHED, "id", "show", "against"]).toString();
  return said ? `?${said}` : location.pathname;
}

export const toMemory = (state) => ({ picture: state.picture, crop: state.picture ? state.crop : null });

/** Whether two states ask for the same products. */
export const asksTheSame = (one, other) =>
  ["picture", "id"].every((name) => one[name] === other[name]) &&
  parametersOf(one, SEARCHED).toString() === parametersOf(other, SEARCHED).toString();

const MOST_PICTURES = 20;

const pictures = new Map();

/** Keeps a picture in memory as long as the page is open; returns its key. */
export function keep(blob) {
  const key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  pictures.set(key, { blob, address: URL.createObjectURL(blob) });
  if (pictures.size > MOST_PICTURES) {
    const [oldest, { address }] = pictures.entries().next().value;
    URL.revokeObjectURL(address);
    pictures.delete(oldest);
  }
  return key;
}

/** A picture that was kept: {blob, address}; undefined where it is gone. */
export const kept = (key) => pictures.get(key);
