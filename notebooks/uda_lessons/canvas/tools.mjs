// The switches over the map's corner; zoom and pan by buttons, wheel, drag and keys.

import { html } from "./dom.mjs";

const STEP = 1.5; // one press of a zoom button

export function addTools(map, stage) {
  const button = (text, title, onclick) => html("button", { type: "button", title, ariaLabel: title, onclick }, text);
  const toggle = (name, text, title) => {
    const node = button(text, title, () => {
      map[name] = !map[name];
      node.ariaPressed = stage.dataset[name] = map[name];
      map.redraw();
    });
    node.ariaPressed = false;
    return node;
  };
  const home = button("1:1", "Show the whole map (0)", () => map.home());
  const zoomIn = button("+", "Zoom in (+, or the wheel with Ctrl)", () => map.zoom(STEP));
  const zoomOut = button("\u2212", "Zoom out (-)", () => map.zoom(1 / STEP));
  stage.append(html("div", { className: "tools", role: "toolbar", ariaLabel: "map", "data-lm-suppress-shortcuts": "true" },
    toggle("domains", "Domains", "Colour by domain instead of by class"),
    toggle("lines", "Lines", "Join the two stars of each class"),
    zoomOut, home, zoomIn));
  map.onzoom = (zoom) => {
    home.disabled = zoomOut.disabled = zoom === 1;
    map.over.style.touchAction = zoom === 1 ? "pan-y" : "none";
  };
  map.onzoom(1);
  map.over.addEventListener("keydown", (event) => {
    const act = { "+": () => map.zoom(STEP), "=": () => map.zoom(STEP), "-": () => map.zoom(1 / STEP), 0: map.home }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  });
  map.over.addEventListener("wheel", (event) => {
    const mine = event.ctrlKey || document.activeElement === map.over; // otherwise the wheel scrolls the notebook past the map
    if (!mine || (home.disabled && event.deltaY > 0)) return;
    event.preventDefault();
    map.zoom(Math.exp(-event.deltaY / (event.deltaMode ? 20 : 400)), event.offsetX / stage.clientWidth, event.offsetY / stage.clientWidth);
  }, { passive: false });
  let held = null, dragged = false; // where the pointer went down, and whether it has moved since
  map.over.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    held = [event.clientX, event.clientY];
    dragged = false;
  });
  map.over.addEventListener("pointermove", (event) => {
    if (!held || !event.buttons) return;
    const [dx, dy] = [event.clientX - held[0], event.clientY - held[1]];
    if (!dragged && Math.hypot(dx, dy) < 4) return;
    if (!dragged) map.over.setPointerCapture(event.pointerId);
    dragged = true;
    held = [event.clientX, event.clientY];
    map.pan(dx / stage.clientWidth, dy / stage.clientWidth);
  });
  map.over.addEventListener("pointerup", () => (held = null));
  map.over.addEventListener("click", (event) => dragged && event.stopImmediatePropagation()); // a drag chooses nothing
}
