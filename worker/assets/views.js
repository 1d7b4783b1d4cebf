// Views of the list of calls: filters that this browser keeps under a name. And the link of the current filter.
(() => {
  "use strict";

  const STORED = "aftercall-views";
  const MOST = 50; // Views.
  const MOST_CHARACTERS = 60; // Of a name.
  const menu = document.getElementById("views");
  const list = document.getElementById("views-list");
  const form = document.getElementById("views-form");
  const note = document.getElementById("views-note");

  // The query of the current filter, without the position in the list.
  function filter() {
    const query = new URLSearchParams(location.search);
    for (const position of ["older", "newer"]) query.delete(position);
    return String(query);
  }

  const address = (query) => (query ? `/calls?${query}` : "/calls");

  // The stored views. What another program stored under the same name is ignored.
  function read() {
    try {
      const found = JSON.parse(localStorage.getItem(STORED));
      const isView = (view) => typeof view?.name === "string" && typeof view?.query === "string";
      return Array.isArray(found) ? found.filter(isView).slice(0, MOST) : [];
    } catch {
      return [];
    }
  }

  function write(views, done) {
    try {
      localStorage.setItem(STORED, JSON.stringify(views));
      note.textContent = done;
    } catch {
      note.textContent = "This browser keeps no views.";
    }
    show();
  }

  function entry(view) {
    const [item, link, remove] = ["li", "a", "button"].map((name) => document.createElement(name));
    link.textContent = view.name;
    link.href = address(String(new URLSearchParams(view.query)));
    if (view.query === filter()) link.setAttribute("aria-current", "true");
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `Remove the view ${view.name}`);
    remove.addEventListener("click", (event) => {
      event.stopPropagation(); // The button is gone when the menu asks whether the click was inside.
      write(read().filter((other) => other.name !== view.name), `Removed: ${view.name}`);
      form.elements.name.focus();
    });
    item.append(link, remove);
    return item;
  }

  function show() {
    const views = read();
    list.replaceChildren(...views.map(entry));
    menu.querySelector(".value").textContent = views.length || "none";
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = form.elements.name.value.trim().slice(0, MOST_CHARACTERS);
    if (!name) return;
    const others = read().filter((view) => view.name !== name);
    if (others.length >= MOST) {
      note.textContent = `There are ${MOST} views already. Remove one first.`;
      return;
    }
    const views = [...others, { name, query: filter() }].sort((a, b) => a.name.localeCompare(b.name));
    form.reset();
    write(views, `Saved: ${name}`);
  });

  const copy = document.getElementById("copy-link");
  copy.addEventListener("click", async () => {
    const link = new URL(address(filter()), location.href).href;
    try {
      await navigator.clipboard.writeText(link);
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy link"; }, 1500);
    } catch {
      prompt("Copy the link:", link); // Without TLS, browsers refuse the clipboard.
    }
  });

  menu.addEventListener("toggle", show); // The filter may have changed.
  addEventListener("storage", show); // Another page of this browser may have changed the views.
  show();
})();
