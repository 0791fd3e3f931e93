/** What every page stands on: its data, elements, numbers, and pictures out of their sheets. */

const page = JSON.parse(document.getElementById("page-data").textContent);

/** Data of one name, read once: from inside the page, or from a file beside it. */
const load = (() => {
  const promises = new Map();
  const waiting = new Map();
  // Pages that are opened from a disk may run a file beside them, but not read one.
  globalThis.seamline = { deliver: (name, data) => waiting.get(name)(JSON.parse(data)) };
  return (name) => {
    if (!promises.has(name)) {
      promises.set(
        name,
        new Promise((resolve, reject) => {
          const inside = document.getElementById(`data-${name}`);
          if (inside) {
            resolve(JSON.parse(inside.textContent));
            return;
          }
          waiting.set(name, resolve);
          const script = element("script", { src: `${page.files}/${name}.js` });
          script.addEventListener("error", () => reject(new Error(name)));
          document.head.append(script);
        }),
      );
    }
    return promises.get(name);
  };
})();

/** An element with attributes, listeners (`onclick`) and children; texts stay texts. */
function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same of a drawing. */
function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(made, attributes, children) {
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

/** A figure in [-1, 1] without the zero that says nothing: .912. */
const figure = (value, digits = 3) => value.toFixed(digits).replace(/^(-?)0\./, "$1.");

const count = (value) => value.toLocaleString("en");

const many = (number, one, others) => `${count(number)} ${number === 1 ? one : others}`;

/** Does something once, when an element comes near what is seen of the page. */
const whenNear = (() => {
  const tasks = new WeakMap();
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) {
          observer.unobserve(target);
          tasks.get(target)();
        }
      }
    },
    { rootMargin: "400px" },
  );
  const all = [];
  return Object.assign(
    (target, task) => {
      tasks.set(target, task);
      all.push(target);
      observer.observe(target);
    },
    { now: () => all.splice(0).forEach((target) => (observer.unobserve(target), tasks.get(target)())) },
  );
})();

const sheetOf = (picture) => Math.floor(picture / page.sheets.perSheet);

const sheetFile = (sheet) => `${page.files}/${String(sheet).padStart(4, "0")}.webp`;

/** Shows a picture out of its sheet in a box, whose `--side` says how large. */
function paint(box, picture, url = sheetFile(sheetOf(picture))) {
  const { columns, perSheet } = page.sheets;
  const [x, y] = [(picture % perSheet) % columns, Math.floor((picture % perSheet) / columns)];
  box.style.backgroundImage = `url("${url}")`;
  box.style.backgroundSize = `calc(var(--side) * ${columns})`;
  box.style.backgroundPosition = `calc(var(--side) * ${-x}) calc(var(--side) * ${-y})`;
}
