/** The ways a picture or a product comes in: dropped, pasted, chosen, photographed, or by its id. */

import { button, element } from "./elements.js";

/** Bytes of the largest file that the server takes. */
export const LARGEST = 20 * 1000 * 1000;

/**
 * Fills the box with the ways in, and listens to what is dropped on the page or pasted into it.
 *
 * @param on `picture(blob)`, `id(text)`, and `refused(title, sentence)` for what is no picture.
 * @returns the field of the product's id.
 */
export function picking(container, on) {
  function take(files, none) {
    const pictures = [...files].filter(({ type }) => !type || type.startsWith("image/"));
    if (!files.length) {
      on.refused("There is no picture in it", none);
    } else if (!pictures.length) {
      on.refused(
        "This is not a picture",
        `${files[0].name || "The file"} is none that can be read; choose a JPEG, PNG, WebP, GIF or BMP.`,
      );
    } else if (pictures[0].size > LARGEST) {
      const size = Math.round(pictures[0].size / 1e6);
      on.refused("The picture is too large", `It has ${size} MB, and at most 20 are taken; save it smaller, or a part of it.`);
    } else {
      on.picture(pictures[0]);
      if (pictures.length > 1) {
        on.refused("One picture at a time", `The first of ${pictures.length} is searched.`);
      }
    }
  }

  const chooser = (more) =>
    element("input", {
      type: "file",
      accept: "image/*",
      hidden: true,
      onchange: ({ target }) => {
        if (target.files.length) {
          take(target.files);
        }
        // The same file can be chosen again.
        target.value = "";
      },
      ...more,
    });
  const file = chooser({ id: "file" });
  const camera = chooser({ id: "camera", capture: "environment" });

  async function paste() {
    try {
      const blobs = [];
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((one) => one.startsWith("image/"));
        if (type) {
          blobs.push(await item.getType(type));
        }
      }
      take(blobs, "Copy a picture first, then paste it here.");
    } catch {
      on.refused("The clipboard cannot be read", "The browser does not let the page; press Ctrl+V instead.");
    }
  }

  const id = element("input", { id: "product-id", autocomplete: "off", spellcheck: "false", required: true });
  const form = element(
    "form",
    {
      class: "by-id",
      onsubmit: (event) => {
        event.preventDefault();
        if (id.value.trim()) {
          on.id(id.value.trim());
        }
      },
    },
    element("label", { for: "product-id" }, "or a product's id"),
    element("div", {}, id, element("button", { class: "plain" }, "Search")),
  );
  container.replaceChildren(
    element("p", { class: "invite" }, "Drop a picture anywhere, or paste it"),
    element(
      "div",
      { class: "buttons" },
      button("Choose a picture", () => file.click(), { class: "choose" }),
      // Elsewhere `capture` only opens the same chooser again.
      matchMedia("(any-pointer: coarse)").matches
        ? button("Take a photo", () => camera.click(), { class: "plain" })
        : null,
      navigator.clipboard?.read ? button("Paste", paste, { class: "plain" }) : null,
    ),
    file,
    camera,
    form,
    element("p", { class: "quiet kept" }, "Pictures are answered from memory and never stored."),
  );

  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const within = (is) => document.body.classList.toggle("dropping", is);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    within(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && within(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    within(false);
    take(
      holdsFiles(event) ? event.dataTransfer.files : [],
      "Pictures of other pages cannot be fetched from here: copy the picture and paste it, or drop a file.",
    );
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) {
      event.preventDefault();
      take(event.clipboardData.files);
    }
  });
  return id;
}
