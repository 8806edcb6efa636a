// What the page shows, as the address says it. The token is never part of it.

import { fromJson, toJson } from "./api.js";

const MOST_ITEMS = 1000;

/** A view of nobody. */
export const NOTHING = { mode: "user", user: undefined, basket: [], k: 10, where: "", seen: false, model: "", other: "" };

/** Whether a value can be an id. */
const isId = (value) => ["string", "number", "bigint"].includes(typeof value);

function parsed(text) {
  try {
    return fromJson(text);
  } catch {
    return undefined;
  }
}

/** The view of an address. What it lacks, or says wrongly, is as in `NOTHING`. */
export function fromAddress(hash) {
  const values = new URLSearchParams(hash.replace(/^#/, ""));
  const user = parsed(values.get("user"));
  const basket = parsed(values.get("basket"));
  const k = Number(values.get("k"));
  return {
    mode: values.has("basket") ? "basket" : "user",
    user: isId(user) ? user : undefined,
    basket: Array.isArray(basket) ? basket.filter(isId).slice(0, MOST_ITEMS).map((item) => ({ item, title: null })) : [],
    k: Number.isInteger(k) && k > 0 ? k : NOTHING.k,
    where: values.get("where") || "",
    seen: values.get("seen") === "1",
    model: values.get("model") || "",
    other: values.get("with") || "",
  };
}

/** The address of a view, without defaults. */
export function toAddress(view) {
  const values = new URLSearchParams();
  if (view.mode === "basket") values.set("basket", toJson(view.basket.map((one) => one.item)));
  else if (view.user !== undefined) values.set("user", toJson(view.user));
  if (view.k !== NOTHING.k) values.set("k", view.k);
  if (view.where) values.set("where", view.where);
  if (view.seen) values.set("seen", "1");
  if (view.model) values.set("model", view.model);
  if (view.other) values.set("with", view.other);
  return `#${values}`;
}

/** The body of a request for recommendations. */
export function asRequest(view, model) {
  const body = { k: view.k, ...who(view, true) };
  if (view.where) body.where = view.where;
  if (view.seen) body.filter_seen = false;
  if (model) body.model = model;
  return body;
}

/** The person of a view, as /recommend (`many`) or /explain names it. */
export function who(view, many = false) {
  const history = view.basket.map((one) => one.item);
  if (view.mode === "basket") return many ? { histories: [history] } : { history };
  return many ? { users: [view.user] } : { user: view.user };
}

/** Whether there is a person to recommend to. */
export const hasPerson = (view) => (view.mode === "basket" ? view.basket.length > 0 : view.user !== undefined);
