// The lists of recommended items, one column per model.

import { toJson } from "./api.js";
import { counted, element, titleOf } from "./dom.js";
import { adder, reasons, similar } from "./reasons.js";

/**
 * Columns of lists. Items that both lists have are marked with their place in the other one.
 *
 * answers: [{model, items}] or [{model, error}]. add(item) takes an item into the basket, if there is one.
 */
export function columns(view, answers, add) {
  const places = answers.map(({ items = [] }) => new Map(items.map((one) => [toJson(one.item), one.rank])));
  return answers.map(({ model, items, error }, k) => {
    const title = element("h3", { className: answers.length > 1 ? "" : "unseen" }, model);
    if (error) return element("article", {}, title, element("p", { className: "error", role: "alert" }, error));
    if (!items.length) return element("article", {}, title, element("p", {}, "No item is left. Relax the filters."));
    const other = answers.length > 1 ? places[1 - k] : undefined;
    const rows = items.map((item) => row(view, item, model, other, add));
    return element("article", {}, title, element("ol", { className: add ? "items addable" : "items", role: "list" }, ...rows));
  });
}

/** What two lists have in common, in a sentence. */
export function overlap(answers) {
  if (answers.length < 2 || answers.some(({ error }) => error)) return "";
  const first = new Set(answers[0].items.map((one) => toJson(one.item)));
  const both = answers[1].items.filter((one) => first.has(toJson(one.item))).length;
  if (!both) return "No item is in both lists.";
  return `${counted(both, "item")} ${both === 1 ? "is" : "are"} in both lists and marked with the place in the other one.`;
}

function row(view, item, model, other, add) {
  const title = titleOf(item);
  const place = other?.get(toJson(item.item));
  const panel = element("div", { className: "panel", hidden: true });
  const text = element("div", { className: "what" }, element("span", { className: "title" }, title));
  if (item.title) text.append(element("span", { className: "id" }, String(item.item)));
  if (place) text.append(element("span", { className: "both" }, `Also number ${place} there`));
  const actions = element("div", { className: "actions" });
  actions.append(
    ...toggles(panel, [
      ["Why?", `Why? ${title}`, () => reasons(view, item, model)],
      ["Similar", `Similar to ${title}`, () => similar(item, model, add)],
    ]),
  );
  if (add) actions.append(adder(item, add));
  const rank = element("span", { className: "rank" }, String(item.rank));
  return element("li", { className: place ? "shared" : "" }, rank, text, actions, panel);
}

/** Buttons of which one at a time shows its content in a panel. */
export function toggles(panel, entries) {
  let open = null;
  const buttons = entries.map(([text, label, content]) => {
    const button = element("button", { type: "button", "aria-label": label, "aria-expanded": "false" }, text);
    button.addEventListener("click", async () => {
      const shown = open === button ? null : button;
      open = shown;
      for (const one of buttons) one.setAttribute("aria-expanded", String(one === shown));
      panel.hidden = !shown;
      if (!shown) return;
      panel.replaceChildren(element("p", { className: "quiet" }, "One moment."));
      const nodes = await content().catch((error) => [element("p", { className: "error" }, error.message)]);
      if (open === shown) panel.replaceChildren(...nodes);
    });
    return button;
  });
  panel.setAttribute("role", "group");
  panel.setAttribute("aria-live", "polite");
  return buttons;
}
