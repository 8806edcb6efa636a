// Elements of the page. Texts of the server become text nodes only, so no id or title is read as HTML.

/** An element with properties or attributes, and children. A text child stays text. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** The element with an id. */
export const byId = (id) => document.getElementById(id);

/** Tell people who use a screen reader. What was done and what is listed have a place each, so both are heard. */
export function say(text, place = "done") {
  byId(place).textContent = text;
}

/** A number with a word in the singular or plural. */
export function counted(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

/** The title of an item, or its id where it has none. */
export const titleOf = (item) => item.title || String(item.item);
