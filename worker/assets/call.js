// Joins the recording of a call with its turns: a click on a turn seeks, and playing marks the turn. Without this script
// a link at each turn opens the recording at its time.
(() => {
  "use strict";

  const player = () => document.querySelector(".call audio");
  const turns = () => [...document.querySelectorAll(".turn[data-second]")];

  function mark(current) {
    for (const turn of turns()) {
      if (turn === current) turn.setAttribute("aria-current", "true");
      else turn.removeAttribute("aria-current");
    }
  }

  document.addEventListener("click", (event) => {
    const turn = event.target.closest(".turn[data-second]");
    // A click on a folded tool opens it. A drag over the text selects it.
    if (!turn || !player() || event.target.closest("details") || String(getSelection())) return;
    event.preventDefault();
    player().currentTime = Number(turn.dataset.second);
    player().play().catch(() => {}); // A recording that cannot be played says so itself.
    mark(turn);
  });

  // Events of media do not bubble, but they can be captured.
  document.addEventListener("timeupdate", (event) => {
    const before = turns().filter((turn) => Number(turn.dataset.second) <= event.target.currentTime);
    mark(before[before.length - 1]);
  }, true);
})();
