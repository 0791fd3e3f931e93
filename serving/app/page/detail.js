/** Two pictures side by side: what they differ in, and why one was found for the other. */

import { arrange, button, control, element, figure, isolated, link, percent, shortened, titled, valuesOf } from "./elements.js";
import { framed } from "./frame.js";
import { largestOf, most, paint, wipe } from "./heat.js";
import { split } from "./labels.js";
import { message, titleOf } from "./messages.js";
import { nameOf, stacked } from "./results.js";
import { colorOf } from "./weights.js";

const LONGEST_TITLE = 120;
const WORTH_SAYING = 0.01;

const differs = (is) => (is ? element("span", { class: "mark" }, element("span", { "aria-hidden": "true" }, "≠"), element("span", { class: "hidden" }, "differs")) : null);

/** A table whose first column names the rows; `numbers` says that the others are figures. */
function table(caption, heads, rows, { numbers = false, total = null } = {}) {
  const cell = (tag, content, at, scope = null) => element(tag, { class: numbers && at ? "number" : null, scope }, content);
  const line = (row) =>
    element("tr", {}, row.map((content, at) => (at ? cell("td", content, at) : cell("th", content, at, "row"))));
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    element(
      "table",
      {},
      element("caption", {}, element("h3", {}, caption)),
      element("thead", {}, element("tr", {}, heads.map((head, at) => cell("th", head, at, "col")))),
      element("tbody", {}, rows.map(line)),
      total ? element("tfoot", {}, line(total)) : null,
    ),
  );
}

/** Why: each block's part of the score. */
function why({ score, parts }, blocks) {
  const counting = blocks.filter(({ weight }) => weight > 0);
  const total = counting.reduce((sum, { weight }) => sum + weight, 0);
  return element(
    "section",
    { class: "why", "aria-label": "Why it was found" },
    stacked(parts, blocks),
    table(
      "Why: parts of the score",
      ["Block", "Alike", "Weight", "Part"],
      counting.map(({ name, weight }) => [
        [
          element("span", { class: `key ${colorOf(blocks.findIndex((of) => of.name === name))}`, "aria-hidden": "true" }),
          isolated(titled(name)),
        ],
        figure((parts[name] ?? 0) / weight),
        figure(weight),
        figure(parts[name] ?? 0),
      ]),
      { numbers: true, total: ["Score", "", figure(total), figure(score)] },
    ),
  );
}

/** What the model sees in both, level by level. */
function seenInBoth(compared, heads) {
  const said = (labels, words) =>
    labels.length
      ? labels
          .filter(({ score }, at) => at === 0 || score >= WORTH_SAYING)
          .map(({ label, score }, at) => element(at ? "small" : "span", {}, isolated(words(label)), ` ${figure(score)}`))
      : "–";
  const wordsOf = (level) => (label) => (level === "attributes" ? split(label)[1] : label);
  return table(
    "What the model sees",
    ["", ...heads],
    compared.map(({ level, query, result }) => [
      [titled(level), " ", differs(query[0]?.label !== result[0]?.label)],
      said(query, wordsOf(level)),
      said(result, wordsOf(level)),
    ]),
  );
}

function catalogSays(query, fields, compares, heads) {
  const cell = (of, field) => {
    const values = valuesOf(of[field]);
    return values.length ? isolated(shortened(values.join(", "), 300)) : "–";
  };
  const isSame = (field) => valuesOf(query[field]).sort().join("\n") === valuesOf(fields[field]).sort().join("\n");
  const names = Object.keys(fields).filter((field) => [query?.[field], fields[field]].some((of) => valuesOf(of).length));
  return query
    ? table(
        "What the catalog says",
        ["", ...heads],
        names.map((field) => [
          [isolated(titled(field)), " ", differs(compares.has(field) && !isSame(field))],
          cell(query, field),
          cell(fields, field),
        ]),
      )
    : table("What the catalog says", ["", "Product"], names.map((field) => [isolated(titled(field)), cell(fields, field)]));
}

/**
 * The window of details.
 *
 * @param on `explain(id, against, label, signal)`, `like(id)`, `exclude(id)`, `pin(id)`, `move(id)`,
 *   `close()`, and `address(id)` of a picture.
 */
export function detailWindow(on) {
  const title = element("h2", { id: "detail-title", tabindex: "-1", autofocus: true });
  const previous = button("‹ Previous", () => go(-1), { class: "plain" });
  const next = button("Next ›", () => go(1), { class: "plain" });
  const contents = element("div");
  const dialog = element(
    "dialog",
    { "aria-labelledby": "detail-title", onclose: () => on.close() },
    element(
      "header",
      {},
      title,
      element("p", { class: "moves" }, previous, next, button("Close", () => dialog.close(), { class: "plain close" })),
    ),
    contents,
  );
  document.body.append(dialog);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && !event.target.closest("input, select, .scroll") && !event.altKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      go(by);
    }
  });

  let shown = null;
  let over = "nothing";
  let asking = new AbortController();

  function go(by) {
    const to = shown.ids[shown.ids.indexOf(shown.id) + by];
    if (shown.ids.includes(shown.id) && to !== undefined) {
      on.move(to);
    }
  }

  /** The two pictures with maps over them, and what chooses the maps. */
  function pictures({ query, id, fields, nameField, explains, labels, against }, signal) {
    const name = nameOf(fields, nameField);
    const sides = [
      { frame: framed(), caption: against ? isolated(shortened(against, 60)) : query.crop ? "Query: the region" : "Query" },
      { frame: framed(), caption: isolated(shortened(id, 60)) },
    ];
    sides[0].frame.show(query);
    sides[1].frame.show({ address: on.address(id), alt: name ? shortened(name, LONGEST_TITLE) : `Product ${shortened(id, 60)}` });
    const told = element("p", { class: "quiet told", role: "status" });
    const levels = Object.keys(labels);
    let [level, label, answered] = ["", "", null];

    const say = (words) => (told.textContent = words);
    const heated = (is) => sides.forEach(({ frame }) => frame.box.classList.toggle("heated", is));

    function draw(maps, largest, words) {
      heated(true);
      maps.forEach((map, at) => paint(sides[at].frame.canvas, map, largest[at]));
      const places = maps.map(most);
      const inWords = (place) => (place ? `${place.zone} (${percent(place.share)})` : "nowhere");
      say(`${words} Most of it: query ${inWords(places[0])}, product ${inWords(places[1])}.`);
    }

    async function show() {
      choice.hidden = over !== "label";
      if (over === "nothing") {
        sides.forEach(({ frame }) => wipe(frame.canvas));
        heated(false);
        say("");
        return;
      }
      const wanted = over === "label" ? [level, label] : null;
      if (over === "label" && !label) {
        return;
      }
      try {
        const answer = wanted ? await on.explain(id, against, wanted, signal) : await answered;
        const now = over === "label" ? `${level}=${label}` : over;
        if (signal.aborted || now !== (wanted ? wanted.join("=") : "features")) {
          return;
        }
        const maps = [answer.query, answer.result].map((side) => (wanted ? side.label?.map : side.features?.map));
        if (!maps.every(Boolean)) {
          say(answer.problem ?? "The model that answers gives no such maps.");
        } else if (wanted) {
          draw(maps, maps.map((map) => largestOf(map)), `Where it sees ${split(label)[1]}: the more orange, the more it says so.`);
        } else {
          const largest = largestOf(...maps);
          draw(
            maps,
            [largest, largest],
            `Orange adds to the score, blue takes away; together ${figure(answer.query.features.sum)} on either picture, the features' part.`,
          );
        }
      } catch (error) {
        if (!signal.aborted) {
          say(error.message);
        }
      }
    }

    const ofLevel = element("select", { onchange: () => choose(ofLevel.value) });
    const ofLabel = element("select", {
      onchange: () => {
        label = ofLabel.value;
        show();
      },
    });
    function choose(to, wanted = labels[to][0]) {
      [level, label] = [to, wanted];
      ofLevel.replaceChildren(...levels.map((one) => new Option(titled(one), one, false, one === to)));
      ofLabel.replaceChildren(...labels[to].map((one) => new Option(shortened(one, 60), one, false, one === wanted)));
      show();
    }
    const choice = element("span", { class: "choice", hidden: true }, control("Level", ofLevel), control("Label", ofLabel));
    const radio = (value, words) =>
      element(
        "label",
        {},
        element("input", {
          type: "radio",
          name: "over",
          value,
          checked: over === value,
          onchange: () => {
            over = value;
            show();
          },
        }),
        words,
      );
    if (!explains || (over === "label" && !levels.length)) {
      over = "nothing";
    }
    const chooser = explains
      ? element(
          "fieldset",
          { class: "over" },
          element("legend", {}, "On the pictures"),
          radio("nothing", "nothing"),
          radio("features", "what the features add"),
          levels.length ? radio("label", "where a label is seen") : null,
          choice,
        )
      : null;
    return {
      element: [
        element("div", { class: "pair" }, sides.map(({ frame, caption }) => element("figure", {}, frame.box, element("figcaption", {}, caption)))),
        chooser,
        chooser ? told : null,
      ],
      /** Takes the promise of an explanation, and what to begin with of the labels. */
      async take(promise) {
        answered = promise;
        if (!explains) {
          return;
        }
        if (levels.length) {
          const first = levels.includes("subcategory") ? "subcategory" : levels[0];
          choose(first);
          const of = (await promise.catch(() => null))?.compared?.find((one) => one.level === first);
          if (of?.result[0] && label === labels[first][0] && !signal.aborted && labels[first].includes(of.result[0].label)) {
            choose(first, of.result[0].label);
          }
        } else {
          show();
        }
      },
    };
  }

  function render(about) {
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    shown = about;
    const { id, hit, fields, blocks, query, facetFields, nameField, doubles, problem } = about;
    const name = nameOf(fields, nameField);
    title.replaceChildren(name ? isolated(shortened(name, LONGEST_TITLE)) : "Product", " ", isolated(shortened(id, 60), { class: "id" }));
    among(about.ids);
    if (problem) {
      contents.replaceChildren(message("bad", titleOf(problem.status), [problem.message]));
      return;
    }
    const heads = about.against ? [about.against, id].map((of) => shortened(of, 30)) : ["Query", "Product"];
    const reasons = element("div", { class: "reasons" });
    const compared = element("div", { class: "compared" });
    const shownPictures = query ? pictures(about, signal) : null;
    if (hit) {
      reasons.append(why(hit, blocks));
    }
    compared.append(catalogSays(query?.fields ?? null, fields, facetFields, heads));
    const others = element("p", { class: "quiet" });
    doubles.then(
      (ids) => {
        if (ids.length) {
          others.append("Doubles: ", ...ids.flatMap((double) => [link(shortened(double, 60), () => on.move(double)), " "]));
        }
      },
      () => {},
    );
    contents.replaceChildren(
      element(
        "div",
        { class: "detail" },
        element("div", {}, shownPictures?.element ?? alone(about)),
        element(
          "div",
          { class: "beside" },
          reasons,
          about.isExpanded ? element("p", { class: "quiet" }, "Found with a query that had moved towards its first finds; the maps are of the picture alone.") : null,
          element(
            "p",
            { class: "buttons" },
            button("More like this", () => on.like(id)),
            button("Exclude", () => on.exclude(id), { class: "plain" }),
            button("Compare with another", () => on.pin(id), { class: "plain" }),
          ),
          others,
        ),
      ),
      compared,
    );
    if (query) {
      const promise = on.explain(id, about.against, null, signal);
      shownPictures.take(promise);
      promise.then(
        (answer) => {
          if (signal.aborted) {
            return;
          }
          if (!hit) {
            arrange(reasons, [why(answer, blocks)]);
          }
          if (answer.compared?.length) {
            compared.prepend(seenInBoth(answer.compared, heads));
          }
        },
        (error) => {
          if (!signal.aborted) {
            compared.prepend(message("warn", titleOf(error.status), [error.message]));
          }
        },
      );
    }
  }

  /** Which products the buttons and keys walk through. */
  function among(ids) {
    const at = ids.indexOf(shown.id);
    previous.hidden = next.hidden = at < 0;
    previous.setAttribute("aria-disabled", String(at <= 0));
    next.setAttribute("aria-disabled", String(at === ids.length - 1));
    shown = { ...shown, ids };
  }

  function alone({ id, fields, nameField }) {
    const frame = framed();
    frame.show({ address: on.address(id), alt: nameOf(fields, nameField) || `Product ${id}` });
    return element("div", { class: "pair" }, element("figure", {}, frame.box));
  }

  return {
    /** Opens it, or shows another product in it. */
    show(about) {
      render(about);
      if (!dialog.open) {
        dialog.showModal();
      }
    },
    close() {
      asking.abort();
      if (dialog.open) {
        dialog.close();
      }
    },
    among(ids) {
      if (dialog.open) {
        among(ids);
      }
    },
  };
}
