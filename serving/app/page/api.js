/** Asks the server, by the contract of `/openapi.json`. */

import { SEARCHED, kept, parametersOf } from "./state.js";

/** An answer that is none: the sentence to show, and the HTTP status; 0 where nobody answered. */
export class Refused extends Error {
  constructor(status, sentence, retryAfter = null) {
    super(sentence);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the same question may be answered later. */
  get isPassing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

const LONGEST = 60_000;

/** Where something of the server is, which may lie below a path of a proxy. */
const addressOf = (path, said = new URLSearchParams()) => {
  const asked = said.toString();
  return new URL(asked ? `${path}?${asked}` : path, document.baseURI).href;
};

async function answer(path, said, { signal, ...more } = {}) {
  const late = AbortSignal.timeout(LONGEST);
  let response;
  try {
    response = await fetch(addressOf(path, said), {
      ...more,
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
  } catch (error) {
    if (signal?.aborted) {
      throw error;
    }
    throw new Refused(0, late.aborted ? "The server did not answer within a minute." : "The server does not answer.");
  }
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    const sentence = typeof told.detail === "string" ? told.detail : `The server answered with ${response.status}.`;
    throw new Refused(response.status, sentence, Number(response.headers.get("Retry-After")) || null);
  }
  try {
    return await response.json();
  } catch (error) {
    if (signal?.aborted) {
      throw error;
    }
    throw new Refused(0, "The server's answer broke off.");
  }
}

export const models = () => answer("api/models");

export const facets = (state, signal) =>
  answer("api/facets", parametersOf(state, ["model", "version", "where"]), { signal });

export const product = (state, id, signal) =>
  answer(`api/products/${encodeURIComponent(id)}`, parametersOf(state, ["model", "version"]), { signal });

/** Where a product's picture is. */
export const pictureAddress = (state, id) =>
  addressOf(`api/images/${encodeURIComponent(id)}`, parametersOf(state, ["model", "version"]));

export async function isReady() {
  try {
    return (await fetch(addressOf("readyz"), { signal: AbortSignal.timeout(5000) })).ok;
  } catch {
    return false;
  }
}

/** The query's picture file, of a product's the catalog's own. */
async function pictureOf(state, signal) {
  if (state.picture) {
    return kept(state.picture).blob;
  }
  try {
    const response = await fetch(pictureAddress(state, state.id), { signal });
    if (!response.ok) {
      throw new Refused(response.status, `The catalog has no picture of ${state.id}.`);
    }
    return await response.blob();
  } catch (error) {
    throw error instanceof Refused || signal?.aborted ? error : new Refused(0, "The server does not answer.");
  }
}

async function uploaded(state, signal) {
  const form = new FormData();
  // What the file is called at home is nobody's business.
  form.append("picture", await pictureOf(state, signal), "picture");
  return { method: "POST", body: form, signal };
}

/** A picture, or a product by its id. */
const asked = (state, signal) =>
  state.picture
    ? uploaded(state, signal)
    : {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ id: state.id }),
        signal,
      };

export const search = async (state, signal) =>
  answer("api/search", parametersOf(state, SEARCHED), await asked(state, signal));

/** What the model sees in the query's picture. */
export const predict = async (state, signal) =>
  answer("api/predict", parametersOf(state, ["model", "version", "crop"]), await uploaded(state, signal));

/**
 * Why a product is where it is: `result` is its id, `label` a `[level, label]` whose map is wanted.
 * Without `result` only the query's map is answered.
 */
export async function explain(state, { result = null, label = null }, signal) {
  const said = parametersOf(state, ["model", "version", "crop", "weight"]);
  if (result !== null) {
    said.append("result", result);
  }
  if (label) {
    said.append("label", label.join("="));
  }
  return answer("api/explain", said, await asked(state, signal));
}
