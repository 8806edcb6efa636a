// The basket as a list whose entries can be moved and removed by buttons.

import { byId, element, say, titleOf } from "./dom.js";
import { toggles } from "./lists.js";
import { similar } from "./reasons.js";

/** Show a basket. `change` takes the new one, `add` an item, `model` gives the name of the model. */
export function showBasket(basket, { change, add, model }) {
  byId("basket-empty").hidden = basket.length > 0;
  byId("clear").hidden = basket.length < 2;
  byId("basket").replaceChildren(...basket.map((_, place) => entry(basket, place, change, add, model)));
}

function entry(basket, place, change, add, model) {
  const title = titleOf(basket[place]);
  const button = (action, text, label, disabled, act) => {
    const made = element("button", { type: "button", "aria-label": label, disabled }, text);
    made.dataset.action = action;
    made.addEventListener("click", act);
    return made;
  };
  const move = (by, action) => () => {
    const moved = [...basket];
    [moved[place], moved[place + by]] = [moved[place + by], moved[place]];
    change(moved);
    focus(place + by, action);
    say(`${title} is now number ${place + by + 1} of ${moved.length}.`);
  };
  const remove = () => {
    const rest = basket.filter((_, k) => k !== place);
    change(rest);
    if (rest.length) focus(Math.min(place, rest.length - 1), "remove");
    else byId("item").focus();
    say(`${title} is removed.`);
  };
  const panel = element("div", { className: "panel", hidden: true });
  return element(
    "li",
    {},
    element("span", { className: "title" }, title),
    element(
      "div",
      { className: "actions" },
      ...toggles(panel, [["Similar", `Similar to ${title}`, () => similar(basket[place], model(), add)]]),
      button("up", "↑", `Move ${title} up`, place === 0, move(-1, "up")),
      button("down", "↓", `Move ${title} down`, place === basket.length - 1, move(1, "down")),
      button("remove", "×", `Remove ${title}`, false, remove),
    ),
    panel,
  );
}

/** Keep the focus on the button that was used, or on a neighbour that can be used. */
function focus(place, action) {
  const row = byId("basket").children[place];
  const wanted = row.querySelector(`[data-action="${action}"]`);
  (wanted.disabled ? row.querySelector("[data-action]:not(:disabled)") : wanted).focus();
}
