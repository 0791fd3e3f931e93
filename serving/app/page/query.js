/** The picture that others are to be like, and the region of it that is searched. */

import { cropping } from "./crop.js";
import { element, isolated, link } from "./elements.js";
import { framed } from "./frame.js";
import { paint, wipe } from "./heat.js";

/**
 * @param container where it is shown.
 * @param on `region(region or null)` where another is to be searched.
 */
export function queryPicture(container, on) {
  const frame = framed();
  const name = element("p", { class: "name" });
  let drawn = null;
  let searched = null;

  const search = link("Search this region", () => isActive(search) && crop.settle());
  const whole = link("Whole picture", () => {
    if (isActive(whole)) {
      crop.show(null);
      moved(null);
      on.region(null);
    }
  });
  const isActive = (of) => of.getAttribute("aria-disabled") !== "true";
  const crop = cropping(frame.inner, "crop-help", {
    changed: moved,
    search(region) {
      if (`${region}` !== `${searched}`) {
        on.region(region);
      }
    },
  });

  function moved(region) {
    drawn = region;
    // They stay where they are, and keep the focus.
    search.setAttribute("aria-disabled", String(`${drawn}` === `${searched}`));
    whole.setAttribute("aria-disabled", String(drawn === null && searched === null));
    wipe(frame.canvas);
  }

  container.replaceChildren(
    frame.box,
    element("p", { class: "of-region" }, search, whole),
    element(
      "p",
      { class: "quiet", id: "crop-help" },
      element("span", { class: "draw" }, "Draw a region to search a part. "),
      element("span", { class: "keys" }, "Arrows, Shift: further, Enter: search, Esc: all"),
    ),
    name,
  );
  return {
    /** Shows `{address, alt, missing}`, the region that is searched, and the product's id and name. */
    show(picture, region, id, title) {
      searched = region;
      frame.show(picture);
      crop.show(region);
      moved(region);
      name.hidden = !id;
      name.replaceChildren(...(id ? [title ? isolated(title) : "Product", " ", isolated(id, { class: "id" })] : []));
    },
    /** Draws a map of what is searched over the picture; null takes it away. */
    heat(map) {
      if (map) {
        paint(frame.canvas, map, Math.max(...map.flat(), 1e-12), searched ?? undefined);
      } else {
        wipe(frame.canvas);
      }
      frame.box.classList.toggle("heated", Boolean(map));
    },
  };
}
