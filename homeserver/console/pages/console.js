"use strict";
// Pages follow what happens: the server sends the parts of the page that have
// changed. Without this script they are read as they were when they were loaded.
(() => {
  const page = document.querySelector("[data-follow]");
  const note = document.getElementById("following");
  if (!page || !note || !window.EventSource) return;

  const say = (text, live) => {
    if (note.textContent !== text) note.textContent = text;
    note.classList.toggle("live", live);
    note.hidden = false;
  };

  // Whoever uses the keyboard stays where they are, and what is open stays open.
  const replace = (id, html) => {
    const part = document.getElementById(id);
    if (!part) return;
    const focus = part.contains(document.activeElement) ? document.activeElement : null;
    const href = focus?.getAttribute("href");
    const summary = focus?.closest("summary")?.parentElement.id;
    const open = [...part.querySelectorAll("details[open]")].map((e) => e.id);
    part.innerHTML = html;
    for (const e of part.querySelectorAll("details")) e.open = open.includes(e.id);
    for (const e of part.querySelectorAll("a")) if (href && e.getAttribute("href") === href) e.focus();
    if (summary) document.getElementById(summary)?.querySelector("summary").focus();
  };

  // What is under a pressed mouse stays there until it is let go, or the click would be nobody's.
  const waiting = new Map();
  let pressed = false;
  const change = (id, html) => (pressed ? waiting.set(id, html) : replace(id, html));
  const release = () =>
    setTimeout(() => {
      pressed = false;
      for (const [id, html] of waiting) replace(id, html);
      waiting.clear();
    });
  addEventListener("pointerdown", () => (pressed = true));
  for (const end of ["pointerup", "pointercancel", "blur"]) addEventListener(end, release);

  let source = null;
  const stop = () => {
    source?.close();
    source = null;
  };
  const start = () => {
    if (source) return;
    source = new EventSource(page.dataset.follow);
    source.addEventListener("open", () => say("Live", true));
    source.addEventListener("error", () => {
      say("Not live", false);
      if (source?.readyState !== EventSource.CLOSED) return; // it tries again by itself
      stop();
      setTimeout(() => document.hidden || start(), 15000);
    });
    source.addEventListener("change", (e) => {
      for (const [id, html] of Object.entries(JSON.parse(e.data))) change(id, html);
    });
    source.addEventListener("over", () => {
      stop();
      location.reload();
    });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  addEventListener("pagehide", stop);
  addEventListener("pageshow", start);
})();
