/** What every part stands on: elements, numbers and names. Texts of the catalog stay texts. */

/** An element with attributes, listeners (`onclick`) and children. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      made.addEventListener(name.slice(2), value);
    } else if (value !== null && value !== undefined && value !== false) {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** A text of the catalog, whatever the direction in which it is written. */
export const isolated = (text, more = {}) => element("bdi", more, String(text));

export const button = (words, onclick, more = {}) =>
  element("button", { type: "button", onclick, ...more }, words);

/** A button that reads as a link. */
export const link = (words, onclick, more = {}) => button(words, onclick, { class: "link", ...more });

/** Something to fill in or to choose from, with its name above it. */
export const control = (() => {
  let controls = 0;
  return (name, input, more = "") => {
    input.id ||= `control-${++controls}`;
    return element("div", { class: `control ${more}` }, element("label", { for: input.id }, name), input);
  };
})();

/**
 * Makes `rows` the children of a list, in this order, without touching those that stay in place:
 * what has the focus keeps it.
 */
export function arrange(list, rows) {
  const wanted = new Set(rows);
  [...list.children].filter((child) => !wanted.has(child)).forEach((child) => child.remove());
  rows.forEach((row, at) => {
    if (list.children[at] !== row) {
      list.insertBefore(row, list.children[at] ?? null);
    }
  });
}

/** A figure without the zero that says nothing: .91. */
export const figure = (value, digits = 2) => value.toFixed(digits).replace(/^(-?)0\./, "$1.");

export const count = (value) => value.toLocaleString("en");

export const many = (number, one, others) => `${count(number)} ${number === 1 ? one : others}`;

export const percent = (share) => `${Math.round(share * 100)} %`;

const TITLES = { category: "Category", subcategory: "Sub-category", attributes: "Attributes" };

/** A column's or a level's name as people write it: "baseColour" is "Base colour". */
export function titled(name) {
  if (Object.hasOwn(TITLES, name)) {
    return TITLES[name];
  }
  const words = name.replace(/([\p{Ll}\d])(\p{Lu})/gu, (_, end, begin) => `${end} ${begin.toLowerCase()}`);
  const spaced = words.replaceAll("_", " ").trim() || name;
  return spaced[0].toUpperCase() + spaced.slice(1);
}

/** A text of at most so many characters. */
export const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** What a field holds, as texts: none, one, or several. */
export const valuesOf = (cell) =>
  (Array.isArray(cell) ? cell : [cell]).filter((value) => value !== null && value !== undefined && value !== "").map(String);

/** Does something once it has not been asked for a while, in milliseconds. */
export function debounced(task, wait) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => task(...given), wait);
  };
}
