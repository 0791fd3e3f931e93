/** How much each block counts: a slider a block. */

import { arrange, debounced, element, figure, isolated, link, titled } from "./elements.js";

const WAIT = 300;
const KEYS = 8;

/** The class of a block's color, by its place. */
export const colorOf = (at) => `color-${(at % KEYS) + 1}`;

/**
 * @param container where the sliders are shown.
 * @param changed is called with the weights that differ from the usual ones, once they rest.
 */
export function weighing(container, changed) {
  const list = element("ul", { class: "sliders" });
  const about = element("span", { class: "quiet", "aria-hidden": "true" });
  const reset = link("Reset the weights", () => {
    sliders.forEach(({ usual, put }) => put(usual));
    tell.now();
  });
  const more = link("", () => {
    all = !all;
    draw();
  });
  container.replaceChildren(list, element("p", { class: "about quiet" }, more, reset, about));
  let sliders = new Map();
  let all = false;

  /** Blocks that count nothing, by habit and now, are behind a button. */
  function draw() {
    const counting = [...sliders.values()].filter(
      ({ usual, input }) => usual > 0 || Number(input.value) > 0 || input === document.activeElement,
    );
    const left = sliders.size - counting.length;
    arrange(list, (all ? [...sliders.values()] : counting).map(({ made }) => made));
    more.hidden = left === 0;
    more.textContent = all ? "Fewer" : `${left} more`;
    more.setAttribute("aria-expanded", String(all));
  }

  const now = () =>
    Object.fromEntries(
      [...sliders].filter(([, { input, usual }]) => Number(input.value) !== usual).map(([name, { input }]) => [name, Number(input.value)]),
    );
  const tell = Object.assign(
    debounced(() => changed(now()), WAIT),
    { now: () => changed(now()) },
  );

  function slider({ name, weight, about: sentence }, at) {
    const input = element("input", {
      type: "range",
      id: `weight-${at}`,
      min: "0",
      max: Math.max(3, Math.ceil(2 * weight)),
      // The usual weight is one of those that can be chosen.
      step: Number.isInteger(Math.round(weight * 1000) / 50) ? 0.05 : "any",
      "aria-describedby": `about-${at}`,
    });
    const output = element("output", { for: `weight-${at}`, class: "number" });
    const put = (value) => {
      input.value = value;
      output.textContent = figure(Number(input.value));
    };
    input.addEventListener("input", () => {
      put(input.value);
      tell();
    });
    const explain = () => (about.textContent = sentence);
    const made = element(
      "li",
      { onpointerenter: explain, onfocusin: explain },
      element(
        "label",
        { for: `weight-${at}` },
        element("span", { class: `key ${colorOf(at)}`, "aria-hidden": "true" }),
        isolated(titled(name)),
      ),
      output,
      input,
      element("span", { class: "hidden", id: `about-${at}` }, sentence),
    );
    return { made, input, put, usual: weight };
  }

  let shown = "";
  return {
    /** Shows a model's blocks, and the weights that differ from the usual ones. */
    show(blocks, weights) {
      if (JSON.stringify(blocks) !== shown) {
        shown = JSON.stringify(blocks);
        sliders = new Map(blocks.map((block, at) => [block.name, slider(block, at)]));
      }
      for (const [name, { put, usual, input }] of sliders) {
        if (document.activeElement !== input || !(name in now())) {
          put(weights[name] ?? usual);
        }
      }
      draw();
      const differ = Object.keys(weights).length > 0;
      reset.setAttribute("aria-disabled", String(!differ));
    },
  };
}
