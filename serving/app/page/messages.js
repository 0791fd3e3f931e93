/** What the page says where it cannot show products, and what can be done about it. */

import { element, isolated } from "./elements.js";

/** A box with a title, sentences and buttons; `kind` is "good", "warn" or "bad". */
export const message = (kind, title, sentences, ...actions) =>
  element(
    "div",
    { class: `verdict ${kind}` },
    element("h3", {}, title),
    sentences.filter(Boolean).map((sentence) => element("p", {}, isolated(sentence))),
    actions.length ? element("p", { class: "actions" }, actions) : null,
  );

const TITLES = {
  0: "The server is away",
  400: "This cannot be searched",
  404: "This is not there",
  413: "The picture is too large",
  415: "This is not a picture that can be read",
  429: "Many are searching just now",
  503: "This cannot be searched just now",
};

export const titleOf = (status) => TITLES[status] ?? "Something went wrong";

export const NOTHING_CLOSE = [
  "Nothing here is close",
  ["The catalog has nothing that is surely like this. The nearest follow all the same: look before you take one for it."],
];

export const NOTHING_CLOSE_TO_ALL = [
  NOTHING_CLOSE[0],
  [...NOTHING_CLOSE[1], "A part of the picture may find more: draw a region around the garment."],
];

export const NO_INDEX = [
  "There is no catalog to search yet",
  ["No model here has an index. A run of the pipeline makes one beside the model that it pushes; the page finds it by itself."],
];

export const EMPTY_CATALOG = ["The catalog is empty", ["The index of this model holds no products."]];

export const LOST = [
  "The picture is not kept",
  ["Pictures stay in this page's memory and are gone when it is closed. Choose the picture again; the filters are as they were."],
];
