// Keeps the open page up to date. Without this script, a page shows the state at the time it was loaded.
(() => {
  "use strict";

  const SILENCE_LIMIT = 40_000; // Milliseconds. The server sends something at least every 15 s.
  let source = null;
  let topic = "";
  let heard = 0;
  let behind = false;

  const one = (selector) => document.querySelector(selector);
  const page = () => one("[data-events]");

  // The address of the event stream without `seen`: a page of another version has the same topic.
  const topicOf = (address) => address.replace(/&?seen=\d+/, "");

  function showConnection(state, word) {
    const link = one("#link");
    link.dataset.state = state;
    const span = link.querySelector(".word");
    if (span.textContent !== word) span.textContent = word;
  }

  function refresh(kind, delay = 0) {
    const wanted = () => page()?.dataset.refresh?.split(" ").includes(kind);
    if (!wanted()) return;
    setTimeout(() => wanted() && htmx.trigger(page(), "refresh"), delay);
  }

  function connect() {
    const element = page();
    if (!element || document.hidden) return;
    const address = element.dataset.events;
    if (source && topic === topicOf(address)) return;
    close();
    topic = topicOf(address);
    source = new EventSource(address);
    heard = Date.now();
    source.onopen = () => {
      showConnection("live", "Live");
      if (behind) refresh("resync");
      behind = false;
    };
    source.onerror = () => {
      behind = true;
      showConnection("off", "Reconnecting");
      // The browser does not retry a connection that the server refused.
      if (source?.readyState === EventSource.CLOSED) {
        close();
        explainRefusal(address);
        setTimeout(connect, 3000);
      }
    };
    const on = (name, act) => source.addEventListener(name, (event) => {
      heard = Date.now();
      act(event.data);
    });
    on("row", (html) => putRow(html, true));
    on("left", (html) => putRow(html, false));
    on("gone", (id) => {
      one(`#c-${id}`)?.remove();
      refresh("changed");
    });
    on("changed", () => refresh("changed"));
    // All viewers get this event at the same time. The random delay spreads their requests.
    on("resync", (why) => refresh("resync", why === "behind" ? 0 : Math.random() * 250));
    on("tick", () => refresh("tick"));
    on("letters", showDeadLetters);
    on("health", showHealth);
  }

  // Requests the address once more to learn the status, which an EventSource does not report.
  async function explainRefusal(address) {
    const controller = new AbortController();
    try {
      const { status } = await fetch(address, { signal: controller.signal });
      controller.abort();
      if (status === 429) showConnection("off", "Too many live pages");
      if (status !== 401) return;
      showConnection("off", "Logged out");
      if (!one("textarea")) location.reload(); // A reload would discard the text that somebody edits.
    } catch {} // The server does not answer. `connect` tries again.
  }

  function close() {
    source?.close();
    source = null;
    topic = "";
  }

  // Inserts or replaces the row of a call. `matches`: the filter lets the call through; if not, its row is marked.
  function putRow(html, matches) {
    const body = one("#results tbody");
    if (!body) return;
    const template = document.createElement("template");
    template.innerHTML = html;
    const row = template.content.firstElementChild;
    const old = row && document.getElementById(row.id);
    if (old) {
      if (!matches) row.classList.add("left");
      const focused = old.contains(document.activeElement);
      old.replaceWith(row);
      if (focused) row.querySelector("a")?.focus();
      return;
    }
    const results = one("#results");
    if (!matches || results.dataset.first !== "true") return;
    const at = Number(row.dataset.at);
    const next = [...body.rows].find((other) => Number(other.dataset.at) < at);
    if (!next && body.rows.length >= Number(results.dataset.page)) return;
    row.classList.add("new");
    body.insertBefore(row, next ?? null);
    while (body.rows.length > Number(results.dataset.page)) body.rows[body.rows.length - 1].remove();
  }

  function showDeadLetters(count) {
    const badge = one("#letters");
    const word = Number(count) > 0 ? Number(count).toLocaleString("en") : "";
    const changed = badge.textContent !== word;
    badge.textContent = word;
    badge.hidden = word === "";
    if (changed) refresh("letters");
  }

  function showHealth(json) {
    const state = JSON.parse(json);
    let back = false;
    for (const name of ["mongodb", "nats"]) {
      const notice = one(`#away-${name}`);
      if (!notice.hidden && state[name]) back = true;
      notice.hidden = state[name];
    }
    if (!back) return;
    if (page()?.hasAttribute("data-reload-when-back")) location.reload();
    for (const kind of ["resync", "tick", "letters"]) refresh(kind);
  }

  // The same format as `format::age` of the server.
  function age(at) {
    const seconds = Math.max(0, Math.floor((Date.now() - at) / 1000));
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} d`;
  }

  setInterval(() => {
    for (const time of document.querySelectorAll("time[data-age]")) {
      const word = age(Number(time.dataset.age));
      if (time.textContent !== word) time.textContent = word;
    }
    if (source && Date.now() - heard > SILENCE_LIMIT && source.readyState === EventSource.OPEN) {
      behind = true;
      close();
      connect();
    }
  }, 2000);

  // A page in the background closes its event stream. It updates itself when it is in the foreground again.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
      behind = true;
      showConnection("off", "Paused");
    } else {
      connect();
    }
  });

  // Menus of the filters: their summary, and closing them by a click outside or by Escape.
  document.addEventListener("change", (event) => {
    if (event.target.name !== "status") return;
    const chosen = document.querySelectorAll("input[name=status]:checked");
    one("#status-value").textContent =
      chosen.length === 0 ? "any status" : chosen.length === 1 ? chosen[0].parentElement.textContent.trim() : `${chosen.length} statuses`;
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  document.addEventListener("htmx:after:swap", connect);
  connect();
})();
