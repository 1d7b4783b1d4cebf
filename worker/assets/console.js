// Keeps the open page up to date. Without this script, a page shows the state at the time it was loaded.
(() => {
  "use strict";

  // A part of the page that a person has opened or closed stays so when the page is updated.
  htmx.config.morphIgnore.push("open");

  const SILENCE_LIMIT = 40_000; // Milliseconds. The server sends something at least every 15 s.
  let source = null;
  let topic = "";
  let heard = 0;
  let behind = false;
  let refusal = ""; // Why the server refused the event stream.
  let loading = 0; // Requests for a part of the page.

  const one = (selector) => document.querySelector(selector);
  const page = () => one("[data-events]");

  // The address of the event stream without `seen`: a page of another version has the same topic.
  const topicOf = (address) => address.replace(/&?seen=\d+/, "");

  // Shows in one place whether the page is up to date.
  function showState() {
    const isAway = ["mongodb", "nats"].some((name) => !one(`#away-${name}`).hidden);
    const isConnected = source?.readyState === EventSource.OPEN;
    const [state, word] =
      document.hidden ? ["paused", "Paused"]
      : refusal ? ["off", refusal]
      : !isConnected ? ["off", behind ? "No connection" : "Connecting"]
      : isAway ? ["off", "Outage"]
      : loading > 0 ? ["updating", "Updating"]
      : list.holds() ? ["paused", "Paused"]
      : ["live", "Live"];
    const link = one("#link");
    link.dataset.state = state;
    const span = link.querySelector(".word");
    if (span.textContent !== word) span.textContent = word;
  }

  function refresh(kind, delay = 0) {
    const wanted = () => page()?.dataset.refresh?.split(" ").includes(kind);
    if (!wanted()) return;
    setTimeout(() => {
      if (wanted() && !list.defers()) htmx.trigger(page(), "refresh");
    }, delay);
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
      refusal = "";
      showState();
      if (behind) refresh("resync");
      behind = false;
    };
    source.onerror = () => {
      behind = true;
      showState();
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
    on("row", (html) => list.put(html, true));
    on("left", (html) => list.put(html, false));
    on("gone", (id) => {
      list.remove(`c-${id}`);
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
      refusal = status === 429 ? "Too many live pages or searches" : status === 401 ? "Logged out" : "";
      showState();
      if (status !== 401) return;
      if (!one("textarea")) location.reload(); // A reload would discard the text that somebody edits.
    } catch {} // The server does not answer. `connect` tries again.
  }

  function close() {
    source?.close();
    source = null;
    topic = "";
  }

  // The list of calls: the newest call first, as the server sorts it. While somebody reads the list, no row moves:
  // changes that would move rows wait, and a pill counts the new calls.
  const list = (() => {
    const MOST_WAITING = 200;
    const waiting = new Map(); // Rows by id.
    const gone = new Set(); // Ids of rows that are not shown any more.
    let stale = false; // The list has to be loaded again.

    const results = () => one("#results");
    const body = () => one("#results tbody");
    const limit = () => Number(results().dataset.page);
    const isNew = (id) => !document.getElementById(id);

    function isWatched() {
      const rows = body();
      if (!rows?.rows.length) return false;
      return one("#results table").matches(":hover") || rows.contains(document.activeElement) || results().getBoundingClientRect().top < 0;
    }

    const holds = () => waiting.size > 0 || gone.size > 0 || stale;

    // Whether the list must not be loaded again now.
    function defers() {
      if (!isWatched()) return false;
      stale = true;
      show();
      return true;
    }

    function show() {
      const pill = one("#pill");
      if (pill) {
        const count = [...waiting.keys()].filter(isNew).length;
        const more = stale ? "+" : "";
        pill.textContent = count === 1 && !stale ? "1 new call" : count > 0 ? `${count}${more} new calls` : "The list has changed";
        pill.hidden = !holds();
      }
      showState();
    }

    // Whether the row `a` belongs behind the row `b`.
    function isBehind(a, b) {
      const [at, other] = [Number(a.dataset.at), Number(b.dataset.at)];
      return at === other ? a.id < b.id : at < other;
    }

    // Changes the cells of a row where it is.
    function update(old, row) {
      old.className = row.className;
      [...row.cells].forEach((cell, n) => {
        if (old.cells[n].innerHTML !== cell.innerHTML) old.cells[n].innerHTML = cell.innerHTML;
      });
    }

    // Puts a row where it belongs.
    function place(row) {
      const [rows, old] = [body(), document.getElementById(row.id)];
      if (old?.dataset.at === row.dataset.at) return update(old, row);
      if (!old && results().dataset.first !== "true") return;
      const wasFull = rows.rows.length >= limit();
      old?.remove();
      const next = [...rows.rows].find((other) => isBehind(other, row));
      if (!next && wasFull) {
        if (old) refresh("resync"); // Another call may take its place.
        return;
      }
      if (!old) row.classList.add("new");
      rows.insertBefore(row, next ?? null);
      while (rows.rows.length > limit()) rows.rows[rows.rows.length - 1].remove();
    }

    // Inserts or changes the row of a call. `matches`: the filter lets the call through; if not, its row is marked.
    function put(html, matches) {
      if (!body()) return;
      const template = document.createElement("template");
      template.innerHTML = html;
      const row = template.content.firstElementChild;
      if (!row) return;
      localise(row);
      const old = document.getElementById(row.id);
      if (!matches && !old) {
        if (waiting.delete(row.id)) show();
        return;
      }
      if (!matches) row.classList.add("left");
      if (!isWatched()) return place(row);
      if (old) update(old, row);
      if (old?.dataset.at === row.dataset.at) return;
      if (!old && results().dataset.first !== "true") return;
      if (waiting.has(row.id) || waiting.size < MOST_WAITING) waiting.set(row.id, row);
      else stale = true;
      show();
    }

    function remove(id) {
      const row = document.getElementById(id);
      if (!body() || (!row && !waiting.delete(id))) return;
      if (!row || !isWatched()) return row?.remove();
      row.classList.add("left");
      gone.add(id);
      show();
    }

    function clear() {
      waiting.clear();
      gone.clear();
      stale = false;
    }

    // Applies what waits.
    function apply() {
      const [rows, removed, reload] = [[...waiting.values()], [...gone], stale];
      clear();
      for (const id of removed) document.getElementById(id)?.remove();
      for (const row of rows.sort((a, b) => (isBehind(a, b) ? -1 : 1))) place(row);
      show();
      if (reload) htmx.trigger(results(), "refresh");
    }

    function release() {
      if (body() && holds() && !isWatched()) apply();
    }

    return { apply, clear, defers, holds, isWatched, put, release, remove, show };
  })();

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
    showState();
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

  // Writes times in the zone of the browser. The server writes UTC, which stays as the title.
  const local = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "short" });
  function localise(root) {
    for (const time of root.querySelectorAll("time[data-local]:not([data-done])")) {
      const part = Object.fromEntries(local.formatToParts(new Date(time.dateTime)).map(({ type, value }) => [type, value]));
      time.textContent = `${part.day} ${part.month} ${part.hour}:${part.minute}:${part.second}`;
      time.dataset.done = "";
      for (const zone of document.querySelectorAll("[data-zone]")) zone.textContent = part.timeZoneName;
    }
  }

  setInterval(() => {
    list.release();
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
    } else {
      connect();
    }
    showState();
  });

  // Menus of the filters: their summary, and closing them by a click outside or by Escape. This handler runs before
  // the form is sent.
  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.name !== "outcome") return;
    const isAlone = "alone" in box.dataset;
    for (const other of document.querySelectorAll("input[name=outcome]:checked")) {
      if (box.checked && other !== box && (isAlone || "alone" in other.dataset)) other.checked = false;
    }
    const chosen = document.querySelectorAll("input[name=outcome]:checked");
    one("#outcome-value").textContent =
      chosen.length === 0 ? "any" : chosen.length === 1 ? chosen[0].parentElement.textContent.trim() : `${chosen.length} chosen`;
  }, true);

  async function copy(button) {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.dataset.copied = "";
      setTimeout(() => delete button.dataset.copied, 1500);
    } catch {
      prompt("Copy the id:", button.dataset.copy); // Without TLS, browsers refuse the clipboard.
    }
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.copy) copy(button);
    if (button?.id === "pill") {
      list.apply();
      scrollTo({ top: 0 });
      one("#main").focus({ preventScroll: true });
    }
    if (button?.matches(".fold")) {
      const isOpen = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!isOpen));
    }
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

  for (const name of ["pointermove", "focusout", "scroll"]) {
    document.addEventListener(name, () => requestAnimationFrame(list.release), { passive: true });
  }

  // The link from a call back to the list keeps the filters.
  function keepList() {
    if (location.pathname === "/calls") sessionStorage.setItem("calls", location.pathname + location.search);
    const crumb = one(".crumb a[href='/calls']");
    if (crumb) crumb.href = sessionStorage.getItem("calls") ?? "/calls";
  }

  function arrive() {
    localise(document);
    keepList();
    connect();
    list.show();
  }

  document.addEventListener("htmx:before:request", () => {
    loading += 1;
    showState();
  });
  document.addEventListener("htmx:finally:request", () => {
    loading = Math.max(0, loading - 1);
    showState();
  });
  // Somebody may have begun to read the list after it was requested.
  document.addEventListener("htmx:before:swap", (event) => {
    if (event.detail.ctx.sourceElement?.id === "results" && list.defers()) event.preventDefault();
    else list.clear();
  });
  document.addEventListener("htmx:after:swap", arrive);
  one(".fold")?.removeAttribute("hidden");
  document.documentElement.classList.add("js");
  arrive();
})();
