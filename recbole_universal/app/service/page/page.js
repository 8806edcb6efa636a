// The page: who is asked for, with which filters and models, and what the service answers.

import { get, post, token } from "./api.js";
import { showBasket } from "./basket.js";
import { combobox } from "./combobox.js";
import { byId, counted, element, say, titleOf } from "./dom.js";
import { columns, overlap } from "./lists.js";
import { NOTHING, asRequest, fromAddress, hasPerson, toAddress } from "./view.js";

const LIMIT = 20; // suggestions
const MOST = 1000; // items of a list

let view = { ...NOTHING };
let models = [];
let asking; // what stops the request in progress

// Changes of the view.

/** Take a change, show it, and ask for its lists. A new person is a new entry of the history. */
function change(patch) {
  const isNew = "user" in patch || "mode" in patch || "basket" in patch;
  view = { ...view, ...patch };
  history[isNew ? "pushState" : "replaceState"](null, "", toAddress(view));
  showControls();
  showLists();
}

function add(item) {
  const has = view.basket.some((one) => one.item === item.item);
  const title = titleOf(item);
  say(has ? `${title} is in the basket already.` : `${title} is in the basket.`);
  if (has) hintItem(`${title} is in the basket already.`);
  else change({ basket: [...view.basket, { item: item.item, title: item.title }] });
}

/** The view of the address, with the titles of its basket. */
async function restore() {
  const basket = view.basket;
  view = fromAddress(location.hash);
  const titles = new Map(basket.map((one) => [one.item, one.title]));
  for (const one of view.basket) one.title = titles.get(one.item) ?? null;
  showControls();
  showLists();
  await findTitles(view.basket.filter((one) => one.title === null));
}

async function findTitles(basket) {
  for (const one of basket) {
    const found = await get("items", searched(String(one.item))).catch(() => ({ items: [] }));
    one.title = found.items.find(({ item }) => item === one.item)?.title ?? null;
  }
  if (basket.length) showControls();
}

// Controls.

function showControls() {
  for (const radio of document.getElementsByName("mode")) radio.checked = radio.value === view.mode;
  byId("user-part").hidden = view.mode !== "user";
  byId("basket-part").hidden = view.mode !== "basket";
  if (document.activeElement !== byId("user")) byId("user").value = view.user === undefined ? "" : String(view.user);
  byId("number").value = view.k;
  byId("where").value = view.where;
  byId("seen").checked = view.seen;
  byId("models").hidden = models.length < 2 && !view.model && !view.other; // a shared address may name another one
  byId("model").value = view.model || models[0]?.name || "";
  byId("other").value = view.other;
  for (const option of byId("other").options) option.disabled = option.value === byId("model").value;
  showBasket(view.basket, { change: (basket) => change({ basket }), add, model: () => view.model });
  const set = [view.k !== NOTHING.k && counted(view.k, "item"), view.where, view.seen && "what they had too"];
  byId("filters-set").textContent = set.filter(Boolean).join(" · ");
}

const hintUser = (text) => (byId("user-hint").textContent = text);
const hintItem = (text) => (byId("item-hint").textContent = text);

/** The arguments of a search in the model that is shown. */
const searched = (query) => ({ query: query.slice(0, 200), limit: LIMIT, ...(view.model && { model: view.model }) });

function aboutFound(number, what, text) {
  if (!number) return `No ${what} matches “${text}”.`;
  return number < LIMIT ? `${counted(number, what)}.` : `The first ${number}. Type more to narrow them down.`;
}

function watchControls() {
  combobox(byId("user"), byId("user-options"), {
    search: async (query, signal) => {
      const { users } = await get("users", searched(query), signal);
      hintUser(aboutFound(users.length, "customer", query));
      const unknown = query && !users.length ? [{ label: query, note: "unknown, gets popular items", value: query }] : [];
      return [...users.map((user) => ({ label: String(user), value: user })), ...unknown];
    },
    pick: ({ value }) => {
      byId("user").value = String(value);
      hintUser("");
      change({ user: value });
    },
    hint: hintUser,
  });
  combobox(byId("item"), byId("item-options"), {
    search: async (query, signal) => {
      const { items } = await get("items", searched(query), signal);
      hintItem(aboutFound(items.length, "item", query));
      return items.map((item) => ({ label: titleOf(item), note: item.title ? String(item.item) : "", value: item }));
    },
    pick: ({ value }) => {
      byId("item").value = "";
      hintItem("");
      add(value);
    },
    hint: hintItem,
  });
  for (const radio of document.getElementsByName("mode")) {
    radio.addEventListener("change", () => change({ mode: radio.value }));
  }
  byId("number").addEventListener("change", (event) => {
    const k = Math.round(Number(event.target.value));
    change({ k: Math.min(MOST, Math.max(1, k || NOTHING.k)) });
  });
  byId("where").addEventListener("change", (event) => change({ where: event.target.value.trim() }));
  byId("seen").addEventListener("change", (event) => change({ seen: event.target.checked }));
  byId("model").addEventListener("change", ({ target }) => {
    change({ model: target.value, other: view.other === target.value ? "" : view.other });
  });
  byId("other").addEventListener("change", (event) => change({ other: event.target.value }));
  byId("clear").addEventListener("click", () => {
    change({ basket: [] });
    byId("item").focus();
    say("The basket is empty.");
  });
  byId("user").addEventListener("blur", () => {
    byId("user").value = view.user === undefined ? "" : String(view.user);
    hintUser("");
  });
  byId("question").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("popstate", restore);
}

// Lists.

async function showLists() {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  const asked = view;
  if (!hasPerson(asked)) return showNobody();
  const results = byId("results");
  results.setAttribute("aria-busy", "true");
  const names = [asked.model || models[0]?.name || "", ...(asked.other ? [asked.other] : [])];
  const answers = await Promise.all(names.map((model) => listOf(asked, model, signal)));
  if (signal.aborted) return;
  results.setAttribute("aria-busy", "false");
  const failed = answers.find(({ error }) => error);
  if (failed?.status === 401) return askToken();
  if (answers.every(({ error }) => error)) return showProblem(failed.error, showLists);
  const longest = Math.max(...answers.map(({ items = [] }) => items.length));
  const title = `${longest ? counted(longest, "item") : "No item"} for ${asked.mode === "basket" ? "this basket" : `customer ${asked.user}`}`;
  const adds = asked.mode === "basket" ? add : undefined;
  showResults(title, overlap(answers), answers.flatMap(({ notes = [] }) => notes), columns(asked, answers, adds));
  const first = answers[0].items?.[0];
  say(`${title}. ${first ? `The first is ${titleOf(first)}. ` : ""}${overlap(answers)}`, "listed");
}

/** The list of one model, or its error. */
async function listOf(asked, model, signal) {
  try {
    const found = await post("recommend", asRequest(asked, model), signal);
    return { model: found.model, items: found.lists[0].items, notes: found.notes };
  } catch (error) {
    return { model, error: error.message, status: error.status };
  }
}

function showResults(title, summary, notes, nodes) {
  byId("results-title").textContent = title;
  document.title = `${title} – Recommendations`;
  byId("summary").textContent = summary;
  byId("problem").replaceChildren();
  byId("notes").replaceChildren(...[...new Set(notes)].map((note) => element("li", {}, note)));
  byId("notes").hidden = !notes.length;
  byId("lists").className = nodes.length > 1 ? "two" : "";
  byId("lists").replaceChildren(...nodes);
}

function showNobody() {
  byId("results").setAttribute("aria-busy", "false");
  const isBasket = view.mode === "basket";
  const todo = isBasket
    ? "Type a title or an id and press Enter. Each item that you add gives a new list."
    : "Type an id. A click into the field, or the down arrow key, shows the first ones.";
  showResults(isBasket ? "Put something in the basket" : "Choose a customer", todo, [], []);
}

/** An error in words, and a button to try `again` where that can help. */
function showProblem(message, again) {
  showResults("No list", "", [], []);
  byId("problem").replaceChildren(element("p", { className: "error", role: "alert" }, message));
  if (!again) return;
  const button = element("button", { type: "button" }, "Try again");
  button.addEventListener("click", again);
  byId("problem").append(button);
}

// Models and token.

function askToken() {
  showProblem(token.get() ? "The service does not accept this token." : "This service needs a token.");
  byId("token-form").hidden = false;
  byId("question").hidden = true;
  byId("token").focus();
}

function watchToken() {
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token.set(byId("token").value.trim());
    byId("token").value = "";
    start();
  });
  byId("forget").addEventListener("click", () => {
    token.set("");
    start();
  });
}

/** The day of an ISO time, as the end of a sentence. */
function savedOn(time) {
  const day = new Date(time ?? NaN);
  return Number.isNaN(day.getTime()) ? "" : `, saved on ${day.toLocaleDateString("en-GB", { dateStyle: "medium" })}`;
}

function showModels(found) {
  models = found.models;
  const name = (one) => element("option", { value: one.name }, one.name);
  byId("model").replaceChildren(...models.map(name));
  byId("other").replaceChildren(element("option", { value: "" }, "no other model"), ...models.map(name));
  byId("about").replaceChildren(
    ...models.map((one) => {
      const sizes = [counted(one.users, "customer"), counted(one.items, "item"), counted(one.interactions, "interaction")];
      return element("span", {}, `${one.name}: ${sizes.join(", ")}${savedOn(one.saved)}`);
    }),
  );
  const columnNames = [...new Set(models.flatMap((one) => one.columns))]; // of the item tables
  byId("where-part").hidden = !columnNames.length;
  byId("where-hint").textContent = `Such as category == 'shoes' and price < 50. Columns: ${columnNames.join(", ")}.`;
  byId("token-form").hidden = true;
  byId("question").hidden = false;
  byId("token-kept").hidden = !token.get();
}

async function start() {
  try {
    showModels(await get("models"));
  } catch (error) {
    if (error.status === 401) askToken();
    else showProblem(error.message, start);
    byId("token-kept").hidden = !token.get();
    return;
  }
  await restore();
}

watchControls();
watchToken();
start();
