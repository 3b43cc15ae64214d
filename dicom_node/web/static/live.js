// Keeps the page as the ledger is: the server says which studies changed (web/live.py), and what changed is put in place.
"use strict";

const study = document.body.dataset.study;
const AGAIN_MS = 15000;
let stream = null;
let asked = false;
let busy = false;

// What the server sent of each part, before other scripts changed it.
const sent = new Map();
for (const each of document.querySelectorAll("[data-live]")) sent.set(each.id, each.innerHTML);

function isBeingFilled(element) {
  const active = document.activeElement;
  if (element.contains(active) && active.matches("textarea, input, select, .frame")) return true;
  return [...element.querySelectorAll("textarea, input:not([type])")].some((each) => each.value !== each.defaultValue);
}

function replace(old, update) {
  const reachable = (element) => [...element.querySelectorAll("a, button, summary")];
  const focused = reachable(old).indexOf(document.activeElement);
  const opened = [...old.querySelectorAll("details")].map((each) => each.open);
  old.replaceWith(update);
  update.querySelectorAll("details").forEach((each, number) => { each.open = opened[number] ?? each.open; });
  reachable(update)[focused]?.focus();
}

function place(fresh) {
  const parts = [...fresh.querySelectorAll("[data-live]")];
  let before = null;
  for (const update of parts) {
    const old = document.getElementById(update.id);
    const text = update.innerHTML;
    if (old && sent.get(update.id) === text) {
      before = old;
      continue;
    }
    if (old && isBeingFilled(old)) {
      document.getElementById("stale").hidden = false;
      before = old;
      continue;
    }
    sent.set(update.id, text);
    const node = document.adoptNode(update);
    if (old) replace(old, node);
    else if (before) before.after(node);
    else document.querySelector("main").prepend(node);
    before = node;
    document.dispatchEvent(new CustomEvent("placed", { detail: node }));
  }
  const left = new Set(parts.map((each) => each.id));
  for (const old of document.querySelectorAll("[data-live]")) if (!left.has(old.id)) old.remove();
  if (fresh.title) document.title = fresh.title;
}

async function refresh() {
  asked = true;
  if (busy) return;
  busy = true;
  try {
    while (asked) {
      asked = false;
      const answer = await fetch(location.href);
      if (answer.ok) place(new DOMParser().parseFromString(await answer.text(), "text/html"));
    }
  } catch {
    // The node stops, or the network: the stream opens again by itself, and then all is asked anew.
  } finally {
    busy = false;
  }
}

function listen() {
  if (stream || document.hidden) return;
  stream = new EventSource("/live");
  let opened = 0;
  stream.addEventListener("open", () => {
    document.body.dataset.connected = "yes";
    if (opened++) refresh();
  });
  stream.addEventListener("change", (event) => {
    const changed = JSON.parse(event.data).studies;
    if (!study || changed === null || changed.includes(Number(study))) refresh();
  });
  stream.addEventListener("error", () => {
    document.body.dataset.connected = "no";
    if (stream && stream.readyState === EventSource.CLOSED) {
      stream = null;
      setTimeout(listen, AGAIN_MS);
    }
  });
}

// A browser opens few connections to one server: a page that nobody sees gives its own back.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && stream) {
    stream.close();
    stream = null;
  } else if (!document.hidden) {
    listen();
    refresh();
  }
});
document.getElementById("anew").addEventListener("click", () => location.reload());
listen();
