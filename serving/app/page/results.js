/** The products that were found, as a grid that arrow keys walk through. */

import { arrange, button, count, element, figure, isolated, link, many, shortened, titled, valuesOf } from "./elements.js";
import { differences } from "./labels.js";
import { colorOf } from "./weights.js";

const FIRST_DIFFERENCES = 3;
const LONGEST_NAME = 90;

/** A score's parts as one bar, as long as it is of the most that there can be. */
export function stacked(parts, blocks) {
  const most = blocks.reduce((sum, { weight }) => sum + weight, 0);
  const bar = element("span", { class: "stack", "aria-hidden": "true" });
  blocks.forEach(({ name }, at) => {
    const piece = element("span", { class: colorOf(at) });
    piece.style.width = `${(Math.max(0, parts[name] ?? 0) / most) * 100}%`;
    bar.append(piece);
  });
  return bar;
}

/** A product's name, or what stands for it. */
export const nameOf = (fields, field) => valuesOf(field && fields ? fields[field] : null).join(", ");

/**
 * @param list the list that products are shown in.
 * @param on `open(id)`, `like(id)`, `exclude(id)`, `pin(id)`, `doubles(id)` for the ids of a
 *   product's doubles, and `address(id)` for its picture.
 */
export function resultList(list, on) {
  let tiles = new Map();
  let current = null;

  /** Of all products' buttons only those of one are stops of the Tab key; arrows choose which. */
  function stop(at) {
    current = at;
    for (const tile of list.children) {
      const is = tile === at ? "0" : "-1";
      tile.querySelectorAll("button").forEach((of) => of.setAttribute("tabindex", is));
    }
  }

  list.addEventListener("focusin", ({ target }) => {
    const tile = target.closest(".list > li");
    if (tile && tile !== current) {
      stop(tile);
    }
  });
  list.addEventListener("keydown", (event) => {
    const all = [...list.children];
    const at = all.indexOf(event.target.closest(".list > li"));
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) {
      return;
    }
    const columns = Math.max(1, all.findIndex(({ offsetTop }) => offsetTop > all[0].offsetTop));
    const across = all.every(({ offsetTop }) => offsetTop === all[0].offsetTop) ? all.length : columns;
    const to = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at - across,
      ArrowDown: at + across,
      Home: 0,
      End: all.length - 1,
    }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      all[to]?.querySelector(".open").focus();
    }
  });

  function picture(id, name) {
    const image = element("img", {
      src: on.address(id),
      alt: name ? `${shortened(name, LONGEST_NAME)}, product ${shortened(id, LONGEST_NAME)}` : `Product ${shortened(id, LONGEST_NAME)}`,
      width: "180",
      height: "240",
      loading: "lazy",
      decoding: "async",
    });
    image.addEventListener("error", () => image.replaceWith(element("span", { class: "no-picture" }, "No picture")));
    return image;
  }

  /** The doubles that one product stands for, unfolded. */
  function doublesOf(id, folded) {
    const box = element("div", { class: "doubles" });
    const toggle = link(`+${many(folded, "double", "doubles")}`, async () => {
      const isOpen = toggle.getAttribute("aria-expanded") === "true";
      toggle.setAttribute("aria-expanded", String(!isOpen));
      if (isOpen) {
        box.replaceChildren();
        return;
      }
      try {
        const ids = await on.doubles(id);
        box.replaceChildren(
          ...ids.map((double) =>
            button("", () => on.open(double), { class: "double", "aria-label": `Open double ${shortened(double, LONGEST_NAME)}` }),
          ),
        );
        [...box.children].forEach((made, at) => made.append(picture(ids[at], "")));
        [...box.querySelectorAll("img")].forEach((image) => (image.alt = ""));
      } catch (error) {
        box.replaceChildren(element("span", { class: "quiet" }, error.message));
      }
    }, { "aria-expanded": "false" });
    return element("div", {}, toggle, box);
  }

  function labels(fields, about) {
    const others = differences(fields, about.known);
    if (!others.length) {
      return element("p", { class: "differs quiet" }, about.known.size ? "✓ same labels" : "");
    }
    const shown = others.slice(0, FIRST_DIFFERENCES).map(({ field, values, wanted }) =>
      element(
        "span",
        { class: "differing", title: `${titled(field)}: ${values.join(", ")}; the query: ${wanted.join(", ")}` },
        element("span", { class: "hidden" }, `differs in ${titled(field)}: `),
        isolated(shortened(values.join(", "), 30)),
      ),
    );
    const more = others.length - shown.length;
    return element("p", { class: "differs" }, shown, more > 0 ? element("span", { class: "quiet" }, `+${more}`) : null);
  }

  function tile(hit, about) {
    const name = nameOf(hit.fields, about.nameField);
    const most = about.blocks.reduce((sum, { weight }) => sum + weight, 0);
    const before = tiles.get(hit.id);
    // A picture that is shown already does not flicker when its product moves.
    const image = before?.image ?? picture(hit.id, name);
    const open = button("", () => on.open(hit.id), { class: "open" });
    open.append(image);
    const short = shortened(hit.id, LONGEST_NAME);
    const pin = link("Compare", () => on.pin(hit.id), {
      "aria-pressed": String(about.pinned === hit.id),
      "aria-label": `Compare ${short}`,
    });
    const made = element(
      "li",
      { "data-id": hit.id },
      open,
      element(
        "p",
        { class: "score" },
        element("strong", { title: `of at most ${figure(most)}` }, element("span", { class: "hidden" }, "Score "), figure(hit.score)),
        stacked(hit.parts, about.blocks),
      ),
      element("p", { class: "name" }, name ? isolated(shortened(name, LONGEST_NAME)) : null, isolated(short, { class: "id" })),
      labels(hit.fields, about),
      hit.folded ? doublesOf(hit.id, hit.folded) : null,
      element(
        "p",
        { class: "actions" },
        link("More like this", () => on.like(hit.id), { "aria-label": `More like this: ${short}` }),
        pin,
      ),
      button("✕", () => on.exclude(hit.id), { class: "away", "aria-label": `Exclude ${short}`, title: "Exclude it" }),
    );
    return { made, image, pin };
  }

  return {
    /**
     * Shows what was found, and leaves the focus at the place where it was.
     *
     * @param about `{blocks, known, nameField, pinned}`: see `weights.js` and `labels.js`.
     */
    show(results, about) {
      const place = [...list.children].findIndex((of) => of.contains(document.activeElement));
      tiles = new Map(results.map((hit) => [hit.id, tile(hit, about)]));
      arrange(list, [...tiles.values()].map(({ made }) => made));
      stop(list.children[0] ?? null);
      if (place >= 0) {
        list.children[Math.min(place, list.children.length - 1)]?.querySelector(".open").focus({ preventScroll: true });
      }
    },
    /** Places for products that are being searched. */
    wait(number) {
      tiles = new Map();
      arrange(list, Array.from({ length: number }, () => element("li", { class: "waiting", "aria-hidden": "true" })));
    },
    clear() {
      tiles = new Map();
      arrange(list, []);
    },
    pin(id) {
      for (const [of, { pin }] of tiles) {
        pin.setAttribute("aria-pressed", String(of === id));
      }
    },
    focus(id) {
      tiles.get(id)?.made.querySelector(".open").focus();
    },
    get ids() {
      return [...tiles.keys()];
    },
  };
}
