/** How a model's levels and a catalog's fields go together, and what two products differ in. */

import { valuesOf } from "./elements.js";

const LIKELY = 0.5;
const ALIKE = 0.5;

const simple = (name) => name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");

/** `group=value` of an attribute as [group, value]. */
export function split(label) {
  const at = label.indexOf("=");
  return at < 0 ? ["", label] : [label.slice(0, at), label.slice(at + 1)];
}

/**
 * The field that holds what each level is about: whose values are the level's labels.
 *
 * @param labels of each level, the model's labels.
 * @param facets of each field, its values; those that are compared.
 * @returns a Map from level to field.
 */
export function fieldsOfLevels(labels, facets) {
  const found = new Map();
  const values = Object.entries(facets).map(([field, of]) => [field, of.map(({ value }) => value)]);
  for (const [level, of] of Object.entries(labels)) {
    const known = new Set(of);
    // Whatever a field is called, its values decide; its name where two fields have the same.
    const shares = values
      .map(([field, all]) => [field, all.filter((value) => known.has(value)).length / Math.max(1, all.length)])
      .filter(([, share]) => share > ALIKE)
      .sort(([one, ofOne], [other, ofOther]) => ofOther - ofOne || (simple(other) === simple(level)) - (simple(one) === simple(level)));
    if (shares.length) {
      found.set(level, shares[0][0]);
    }
  }
  return found;
}

/** What is known of the query, a Map from field to its values: by the catalog, or by the model. */
export function knownOf({ fields, seen }, levels, facets) {
  if (fields) {
    return new Map(Object.keys(facets).map((field) => [field, valuesOf(fields[field])]));
  }
  const known = new Map();
  for (const { level, labels } of seen ?? []) {
    if (level === "attributes") {
      for (const { label, score } of labels) {
        const [group, value] = split(label);
        const field = Object.keys(facets).find((name) => simple(name) === simple(group));
        if (field && score >= LIKELY) {
          known.set(field, [...(known.get(field) ?? []), value]);
        }
      }
    } else if (levels.has(level) && labels.length) {
      known.set(levels.get(level), [labels[0].label]);
    }
  }
  return known;
}

const isSame = (one, other) => one.length === other.length && one.every((value) => other.includes(value));

/** What a product differs in from what is known of the query: `[{field, values, wanted}]`. */
export function differences(fields, known) {
  return [...known]
    .map(([field, wanted]) => ({ field, values: valuesOf(fields[field]), wanted }))
    .filter(({ values, wanted }) => wanted.length && values.length && !isSame(values, wanted));
}

/** The field that is a product's name: one whose values are nearly all different, if there is one. */
export function nameField(fields, facets) {
  const free = fields.filter((field) => !Object.hasOwn(facets, field));
  return free.find((field) => /name|title/i.test(field)) ?? free[0] ?? null;
}
