// Why an item is in a list, and which items are similar to it.

import { post } from "./api.js";
import { element, titleOf } from "./dom.js";
import { who } from "./view.js";

const MOST_BARS = 6;
const N_SIMILAR = 5;

/** The reasons of an item in the list of a view's person: nodes. */
export async function reasons(view, item, model) {
  const found = await post("explain", { ...who(view), item: item.item, ...(model && { model }) });
  const own = found.items.map((one) => ({ name: titleOf(one), share: one.share }));
  const nodes = [
    ...bars(view.mode === "basket" ? "Items of the basket that speak for it" : "Their items that speak for it", own),
    ...bars("Scorers that raise or lower its score most", found.scorers),
  ];
  if (!nodes.length) return [element("p", {}, found.text)];
  nodes.push(element("details", {}, element("summary", {}, "In words"), element("p", { className: "quiet" }, found.text)));
  if (view.where || view.seen) {
    nodes.push(element("p", { className: "quiet" }, "A place named here is that in the list without filters."));
  }
  return nodes;
}

/** A heading and bars with figures of the largest shares. Bars of shares below 0 go to the left of a common line. */
function bars(title, all) {
  if (!all.length) return [];
  const shares = [...all].sort((a, b) => Math.abs(b.share) - Math.abs(a.share)).slice(0, MOST_BARS);
  shares.sort((a, b) => b.share - a.share);
  const least = Math.min(0, ...shares.map(({ share }) => share));
  const span = Math.max(1e-9, ...shares.map(({ share }) => share)) - least;
  const rows = shares.map(({ name, share }) => {
    const fill = element("span", { className: share < 0 ? "fill lowers" : "fill" });
    fill.style.width = `${(100 * Math.abs(share)) / span}%`;
    fill.style.marginLeft = `${(100 * (Math.min(share, 0) - least)) / span}%`;
    const track = element("span", { className: "track", "aria-hidden": "true" }, fill);
    const label = element("span", { className: "name" }, name);
    return element("li", {}, label, track, element("span", { className: "figure" }, percent(share)));
  });
  const more = all.length - shares.length;
  const rest = more ? [element("p", { className: "quiet" }, `And ${more} more with smaller shares.`)] : [];
  return [element("h4", {}, title), element("ul", { className: "bars", role: "list" }, ...rows), ...rest];
}

/** A share in per cent, with a decimal where there is less than one. */
function percent(share) {
  const size = Math.abs(100 * share);
  const text = size >= 0.95 ? size.toFixed(0) : size.toFixed(1);
  return share < 0 && Number(text) ? `−${text} %` : `${text} %`;
}

/** The button that takes an item into the basket. */
export function adder(item, add) {
  const button = element("button", { type: "button", "aria-label": `Add ${titleOf(item)} to the basket` }, "Add");
  button.addEventListener("click", () => add(item));
  return button;
}

/** Items similar to an item: nodes. `add` takes one of them into the basket; without it there is no basket. */
export async function similar(item, model, add) {
  const found = await post("similar", { items: [item.item], k: N_SIMILAR + 1, ...(model && { model }) });
  const near = (found.lists[0]?.items ?? []).filter((one) => one.item !== item.item).slice(0, N_SIMILAR);
  if (!near.length) return [element("p", { className: "quiet" }, found.notes?.join(" ") || "No item is similar to it.")];
  const rows = near.map((one) => {
    return element("li", {}, element("span", { className: "name" }, titleOf(one)), ...(add ? [adder(one, add)] : []));
  });
  return [element("h4", {}, "Similar items"), element("ol", { className: "near", role: "list" }, ...rows)];
}
