// What all pages share: the large view with its buttons, keys, and one stop for Tab among many elements.
"use strict";

const element = (id) => document.getElementById(id);
const breakable = (text) => text.split(/(?<=[./_-])/).flatMap((part) => [part, document.createElement("wbr")]);
const view = element("view");
const LARGE = 100; // pixels; a smaller picture is magnified in the view, and its pixels are kept sharp: SHARP in report.py

// ------------------------------------------------------------------------------------------------ the large view

// `step` is called with the key of a button that was pressed, `closed` when the view has been closed.
function connectView(step, closed) {
  for (const button of view.querySelectorAll("[data-key]")) button.addEventListener("click", () => step(button.dataset.key));
  element("close").addEventListener("click", () => view.close());
  view.addEventListener("click", (event) => { if (event.target === view) view.close(); }); // beside it
  view.addEventListener("close", closed);
}

// `leads` tells whether a key leads anywhere from what is shown.
function openView(title, leads) {
  element("view-title").replaceChildren(...breakable(title));
  for (const button of view.querySelectorAll("[data-key]")) button.disabled = !leads(button.dataset.key);
  if (!view.open) view.showModal();
}

// ------------------------------------------------------------------------------------------------ keyboard

// `use` is called with a key and the element that it was pressed in; what it makes use of is not the browser's.
function onKeys(use) {
  document.addEventListener("keydown", (event) => {
    const altGr = event.getModifierState("AltGraph"); // types [ and ] on many keyboards, and looks like Ctrl and Alt
    if (event.defaultPrevented || event.isComposing || ((event.ctrlKey || event.altKey) && !altGr) || event.metaKey) return;
    if (use(event.key, event.target)) event.preventDefault();
  });
}

// Only one of many elements can be reached by Tab, so that Tab leads past thousands of them.
function stopAt(chosen) {
  for (const each of document.querySelectorAll('.stop[tabindex="0"]')) each.tabIndex = -1;
  chosen.tabIndex = 0;
}

function focusOn(chosen) {
  stopAt(chosen);
  chosen.focus();
}

for (const keys of document.querySelectorAll(".keys")) keys.hidden = false;
