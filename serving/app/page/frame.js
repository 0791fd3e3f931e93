/** A picture that fits its box, whole or a part of it, with what lies over it exactly as large. */

import { element } from "./elements.js";

/**
 * Returns `{box, inner, canvas, show}`: `inner` is as large as what is seen of the picture, and
 * takes what lies over it; `canvas` is there for maps. The style sheet says how high the box is.
 */
export function framed() {
  const image = element("img", { alt: "", decoding: "async", draggable: "false" });
  const canvas = element("canvas", { "aria-hidden": "true" });
  const inner = element("div", { class: "inner" }, image, canvas);
  const without = element("p", { class: "no-picture", hidden: true });
  const box = element("div", { class: "frame" }, inner, without);
  let part = [0, 0, 1, 1];

  function fit() {
    const [left, top, width, height] = part;
    const [wide, high] = [image.naturalWidth * width, image.naturalHeight * height];
    if (!wide || !high || !box.clientWidth) {
      return;
    }
    const scale = Math.min(box.clientWidth / wide, box.clientHeight / high);
    inner.style.width = `${wide * scale}px`;
    inner.style.height = `${high * scale}px`;
    image.style.width = `${100 / width}%`;
    image.style.height = `${100 / height}%`;
    image.style.left = `${(-left / width) * 100}%`;
    image.style.top = `${(-top / height) * 100}%`;
  }

  image.addEventListener("load", () => {
    inner.hidden = false;
    without.hidden = true;
    fit();
  });
  image.addEventListener("error", () => {
    inner.hidden = true;
    without.hidden = false;
  });
  new ResizeObserver(fit).observe(box);

  return {
    box,
    inner,
    canvas,
    /** Shows a picture, or a part of it; `missing` is said where it cannot be drawn. */
    show({ address, alt, crop = null, missing = "No picture" }) {
      part = crop ?? [0, 0, 1, 1];
      without.textContent = missing;
      image.alt = alt;
      if (image.src !== address) {
        image.src = address;
      }
      fit();
    },
  };
}
