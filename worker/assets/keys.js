// Keys for lists: the next and the previous row, opening a row, searching, and a dialog that lists the keys.
(() => {
  "use strict";

  const STORED = "aftercall-keys"; // "off": the keys of one character are switched off in this browser.
  const dialog = document.getElementById("keys");
  const choice = document.getElementById("keys-on");

  // The tables of calls, dead letters, deliveries and endpoints.
  const rows = () => [...document.querySelectorAll("main table[role=table] tbody tr")].filter((row) => linkOf(row));
  const linkOf = (row) => row?.querySelector("a[href]");
  const current = () => document.activeElement?.closest("main table[role=table] tbody tr");

  function isOn() {
    try {
      return localStorage.getItem(STORED) !== "off";
    } catch {
      return true; // The browser keeps nothing.
    }
  }

  // Focuses the row that is `step` rows below the current one. Without a current row, the first one.
  function move(step) {
    const all = rows();
    const at = all.indexOf(current());
    const row = at < 0 ? all[0] : all[at + step];
    linkOf(row)?.focus();
  }

  function search() {
    const fields = document.querySelectorAll("form[role=search] :is(input:not([type=hidden]), select)");
    const field = [...fields].find((field) => field.checkVisibility({ visibilityProperty: true }));
    field?.focus();
    field?.select?.();
    return Boolean(field);
  }

  function show() {
    choice.checked = isOn();
    dialog.showModal();
  }

  // What each key does. It returns false if there is nothing to do, so that the browser handles the key.
  const keys = {
    "/": search,
    "j": () => move(1),
    "k": () => move(-1),
    "o": () => linkOf(current())?.click(),
    "?": show,
  };

  document.addEventListener("keydown", (event) => {
    const act = Object.hasOwn(keys, event.key) && keys[event.key];
    if (!act || event.defaultPrevented || event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
    const isField = event.target.closest?.("input, select, textarea, [contenteditable]");
    if (isField || document.querySelector("dialog[open]") || !isOn()) return;
    if (act() !== false) event.preventDefault();
  });

  choice.addEventListener("change", () => {
    try {
      if (choice.checked) localStorage.removeItem(STORED);
      else localStorage.setItem(STORED, "off");
    } catch {
      choice.checked = true; // The choice could not be kept.
    }
  });
  document.getElementById("show-keys").addEventListener("click", show);
})();
