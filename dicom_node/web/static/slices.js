// Scrolls through the slices of each viewer on the page. The pictures are made by the server; see web/slices.py.
"use strict";

const KEPT = 48;

function start(viewer) {
  const slices = Number(viewer.dataset.slices);
  const frame = viewer.querySelector(".frame");
  const range = viewer.querySelector("input[type=range]");
  const place = viewer.querySelector(".place");
  const windows = [...viewer.querySelectorAll("input[type=radio]")];
  const segments = [...viewer.querySelectorAll("input[name=segment]")];
  const kept = new Map();
  let wanted = "";
  let outlines = true;

  function address(number) {
    const chosen = windows.find((each) => each.checked);
    const shown = segments.filter((each) => each.checked).map((each) => each.value);
    const all = outlines && shown.length === segments.length;
    const query = new URLSearchParams({ window: chosen.value, segments: all ? "all" : outlines ? shown.join(",") : "" });
    return `${viewer.dataset.address}${number}.png?${query}`;
  }

  function picture(number) {
    const source = address(number);
    let image = kept.get(source);
    if (!image) {
      image = new Image(512, 512);
      image.src = source;
      image.alt = `Slice ${number} of ${slices}, with outlines of what was found`;
      kept.set(source, image);
      if (kept.size > KEPT) kept.delete(kept.keys().next().value);
    }
    return image;
  }

  async function show(number) {
    number = Math.min(Math.max(number, 1), slices);
    range.value = number;
    place.textContent = `${number} / ${slices}`;
    const image = picture(number);
    wanted = image.src;
    try {
      await image.decode();
    } catch {
      kept.delete(address(number));
      place.textContent = `${number} / ${slices}: this image cannot be shown`;
      return;
    }
    if (wanted !== image.src) return; // another slice was asked for meanwhile
    frame.querySelector("img").replaceWith(image);
    for (const next of [number + 1, number - 1, number + 2]) {
      if (next >= 1 && next <= slices) picture(next);
    }
  }

  const now = () => Number(range.value);
  range.addEventListener("input", () => show(now()));
  for (const each of [...windows, ...segments]) each.addEventListener("change", () => show(now()));
  for (const button of viewer.querySelectorAll("button[data-slice]")) {
    button.addEventListener("click", () => show(Number(button.dataset.slice)));
  }
  frame.addEventListener("wheel", (event) => {
    event.preventDefault();
    show(now() + Math.sign(event.deltaY));
  }, { passive: false });
  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    if (event.key in steps) show(now() + steps[event.key]);
    else if (event.key === "Home") show(1);
    else if (event.key === "End") show(slices);
    else if (event.key.toLowerCase() === "o") { outlines = !outlines; show(now()); }
    else if (windows[Number(event.key) - 1]) { windows[Number(event.key) - 1].checked = true; show(now()); }
    else return;
    event.preventDefault();
  });
  show(now());
}

document.querySelectorAll(".viewer").forEach(start);
document.addEventListener("placed", (event) => event.detail.querySelectorAll(".viewer").forEach(start));
