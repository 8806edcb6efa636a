// A text field with suggestions, by the combobox pattern of the ARIA Authoring Practices Guide.

import { element } from "./dom.js";

const WAIT = 150; // milliseconds after the last key

/**
 * Give a field its suggestions.
 *
 * search(text, signal) resolves to options {label, note, value}. pick(option) takes one. hint(text) shows a sentence.
 */
export function combobox(input, list, { search, pick, hint }) {
  let options = [];
  let active = -1;
  let isFresh = false; // whether the options belong to the text
  let timer, controller;

  function close() {
    clearTimeout(timer);
    controller?.abort();
    options = [];
    active = -1;
    isFresh = false;
    list.hidden = true;
    list.replaceChildren();
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function activate(index) {
    active = index;
    [...list.children].forEach((child, k) => child.setAttribute("aria-selected", String(k === index)));
    if (index < 0) {
      input.removeAttribute("aria-activedescendant");
      return;
    }
    input.setAttribute("aria-activedescendant", list.children[index].id);
    list.children[index].scrollIntoView({ block: "nearest" });
  }

  function choose(index) {
    const chosen = options[index];
    close();
    pick(chosen);
  }

  function open(found) {
    options = found;
    isFresh = true;
    list.replaceChildren(
      ...found.map((option, k) => {
        const note = option.note ? [element("span", { className: "note" }, option.note)] : [];
        const row = element("li", { id: `${list.id}-${k}`, role: "option" }, element("span", {}, option.label), ...note);
        row.addEventListener("mousedown", (event) => event.preventDefault()); // the field keeps the focus
        row.addEventListener("click", () => choose(k));
        return row;
      }),
    );
    list.hidden = !found.length;
    input.setAttribute("aria-expanded", String(found.length > 0));
    activate(found.length && input.value.trim() ? 0 : -1);
  }

  /** Search now, and take the first option if a person who types fast has pressed Enter already. */
  async function look(takesFirst = false) {
    clearTimeout(timer);
    controller?.abort();
    controller = new AbortController();
    const { signal } = controller;
    try {
      const found = await search(input.value.trim(), signal);
      if (signal.aborted || document.activeElement !== input) return;
      open(found);
      if (takesFirst && active >= 0) choose(active);
    } catch (error) {
      if (error.name === "AbortError") return;
      close();
      hint(error.message);
    }
  }

  function later() {
    isFresh = false;
    clearTimeout(timer);
    timer = setTimeout(look, WAIT);
  }

  function step(by) {
    if (!options.length) look();
    else activate((active + by + options.length) % options.length);
  }

  input.addEventListener("input", later);
  input.addEventListener("focus", () => input.select());
  input.addEventListener("click", () => options.length || look());
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown") step(1);
    else if (event.key === "ArrowUp") step(active < 0 ? 0 : -1);
    else if (event.key === "Enter" && isFresh && active >= 0) choose(active);
    else if (event.key === "Enter") look(true);
    else if (event.key === "Escape" && options.length) close();
    else if (event.key === "Escape" && input.value) {
      input.value = "";
      hint("");
    } else return;
    event.preventDefault();
  });
}
