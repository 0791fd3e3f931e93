/** A region of the picture, drawn by pointer or moved by keys. */

import { element, percent } from "./elements.js";

const WHOLE = [0, 0, 1, 1];
const SMALLEST = 0.1;
const STEP = 0.02;
const LARGE_STEP = 0.1;
const DRAWN = 6;

const within = (value, least, most) => Math.min(Math.max(value, least), most);

/** A region that is all of the picture is none. */
const orNone = (region) => (region.every((share, at) => Math.abs(share - WHOLE[at]) < 0.01) ? null : region);

const inWords = ([left, top, width, height]) =>
  `${percent(width)} wide and ${percent(height)} high, ${percent(left)} from the left and ${percent(top)} from the top`;

/** A region whose corner was moved by shares of the picture; `x` and `y` say which: 0 or 1. */
function resized([left, top, width, height], x, y, byX, byY) {
  const [right, bottom] = [left + width, top + height];
  const newLeft = x === 0 ? within(left + byX, 0, right - SMALLEST) : left;
  const newTop = y === 0 ? within(top + byY, 0, bottom - SMALLEST) : top;
  const newRight = x === 1 ? within(right + byX, left + SMALLEST, 1) : right;
  const newBottom = y === 1 ? within(bottom + byY, top + SMALLEST, 1) : bottom;
  return [newLeft, newTop, newRight - newLeft, newBottom - newTop];
}

const moved = ([left, top, width, height], byX, byY) => [
  within(left + byX, 0, 1 - width),
  within(top + byY, 0, 1 - height),
  width,
  height,
];

const CORNERS = [
  ["Top left corner", 0, 0],
  ["Top right corner", 1, 0],
  ["Bottom left corner", 0, 1],
  ["Bottom right corner", 1, 1],
];

/**
 * Lays a region over a picture.
 *
 * @param inner the element over the picture, exactly as large.
 * @param help the id of what says which keys do what.
 * @param on `search(region)` where one is settled, `changed(region)` while it moves; null is all.
 */
export function cropping(inner, help, on) {
  let region = WHOLE;
  let settled = WHOLE;

  const handle = (name, more) =>
    element("div", {
      role: "slider",
      tabindex: "0",
      "aria-label": name,
      "aria-describedby": help,
      "aria-valuemin": "0",
      "aria-valuemax": "100",
      ...more,
    });
  const corners = CORNERS.map(([name, x, y]) => {
    const made = handle(name, { class: `corner ${y ? "bottom" : "top"} ${x ? "right" : "left"}` });
    made.addEventListener("keydown", (event) => onkey(event, (byX, byY) => resized(region, x, y, byX, byY)));
    made.addEventListener("pointerdown", (event) =>
      drag(event, made, (from, byX, byY) => resized(from, x, y, byX, byY)),
    );
    return { made, x, y };
  });
  const box = handle("Region to search", { class: "region" });
  box.addEventListener("keydown", (event) => onkey(event, (byX, byY) => moved(region, byX, byY)));
  inner.append(box, ...corners.map(({ made }) => made));

  function draw() {
    const [left, top, width, height] = region;
    box.style.left = `${left * 100}%`;
    box.style.top = `${top * 100}%`;
    box.style.width = `${width * 100}%`;
    box.style.height = `${height * 100}%`;
    box.classList.toggle("whole", orNone(region) === null);
    box.setAttribute("aria-valuenow", Math.round(left * 100));
    box.setAttribute("aria-valuetext", inWords(region));
    for (const { made, x, y } of corners) {
      const [atX, atY] = [left + x * width, top + y * height];
      made.style.left = `${atX * 100}%`;
      made.style.top = `${atY * 100}%`;
      made.setAttribute("aria-valuenow", Math.round(atX * 100));
      made.setAttribute("aria-valuetext", `${percent(atX)} from the left, ${percent(atY)} from the top`);
    }
  }

  function become(changed) {
    region = changed;
    draw();
    on.changed(orNone(region));
  }

  function settle() {
    settled = region;
    on.search(orNone(region));
  }

  function onkey(event, change) {
    if (event.altKey || event.ctrlKey || event.metaKey) {
      return;
    }
    const step = event.shiftKey ? LARGE_STEP : STEP;
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (by) {
      become(change(...by));
    } else if (event.key === "Enter") {
      settle();
    } else if (event.key === "Escape") {
      become(WHOLE);
      if (orNone(settled)) {
        settle();
      }
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Follows a pointer: `change(region at the start, shares in x, shares in y, event)`. */
  function drag(event, target, change) {
    if (event.button !== 0) {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    target.focus({ preventScroll: true });
    target.setPointerCapture(event.pointerId);
    const [from, size] = [region, inner.getBoundingClientRect()];
    const onmove = (now) =>
      become(change(from, (now.clientX - event.clientX) / size.width, (now.clientY - event.clientY) / size.height, now));
    const onend = (now) => {
      target.removeEventListener("pointermove", onmove);
      target.removeEventListener("pointerup", onend);
      target.removeEventListener("pointercancel", onend);
      if (now.type === "pointercancel") {
        become(from);
      } else if (region.some((share, at) => Math.abs(share - settled[at]) > 0.001)) {
        settle();
      }
    };
    target.addEventListener("pointermove", onmove);
    target.addEventListener("pointerup", onend);
    target.addEventListener("pointercancel", onend);
  }

  // Inside a region the pointer moves it; elsewhere, and where there is none, it draws a new one.
  inner.addEventListener("pointerdown", (event) => {
    if (event.target === box && orNone(region)) {
      drag(event, box, moved);
      return;
    }
    const size = inner.getBoundingClientRect();
    const share = (at, begin, length) => within((at - begin) / length, 0, 1);
    const [fromX, fromY] = [share(event.clientX, size.left, size.width), share(event.clientY, size.top, size.height)];
    drag(event, box, (from, byX, byY) => {
      if (Math.hypot(byX * size.width, byY * size.height) < DRAWN) {
        return from;
      }
      const [toX, toY] = [within(fromX + byX, 0, 1), within(fromY + byY, 0, 1)];
      const [width, height] = [Math.max(Math.abs(toX - fromX), SMALLEST), Math.max(Math.abs(toY - fromY), SMALLEST)];
      return [within(Math.min(fromX, toX), 0, 1 - width), within(Math.min(fromY, toY), 0, 1 - height), width, height];
    });
  });

  draw();
  return {
    /** The region that is searched now; null for all of the picture. */
    show(searched) {
      settled = searched ?? WHOLE;
      region = settled;
      draw();
    },
    /** Searches the region that is drawn. */
    settle,
  };
}
