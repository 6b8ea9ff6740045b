// The sliders, one for each setting: a move is sent at once, and what Python sets is shown.

import { html } from "./dom.mjs";

const ON_THE_WAY = 1000; // milliseconds in which a state may still hold the value before the last move

// Where a value lies on its slider, and back: a logarithmic slider moves by powers of ten.
export const toPosition = ({ kind }, value) => (kind === "log" ? Math.log10(Math.max(value, Number.MIN_VALUE)) : value);
export function toValue({ kind, low, high }, position) {
  return Math.min(high, Math.max(low, kind === "log" ? Number((10 ** position).toPrecision(3)) : position));
}
export function valueText({ kind }, value) {
  if (kind === "int") return String(value);
  return kind === "log" ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

// A field that keeps its keys: JupyterLab would move to another cell on an arrow key.
export function input(attributes) {
  return html("input", { "data-lm-suppress-shortcuts": "true", onkeydown: (event) => event.key === "Escape" || event.stopPropagation(), ...attributes });
}

export function makeControls(section, { controls }, store) {
  const sliders = controls.map((control) => {
    const position = (value) => toPosition(control, value), output = html("output");
    const slider = input({
      type: "range", min: position(control.low), max: position(control.high), step: control.step,
      ariaLabel: control.label, ariaDescription: control.help,
    });
    let moved = 0, sent = control.value;
    const say = (value) => (output.value = slider.ariaValueText = valueText(control, value));
    slider.addEventListener("input", () => {
      [moved, sent] = [Date.now(), toValue(control, Number(slider.value))];
      say(sent);
      store.do("set", { name: control.name, value: sent });
    });
    section.append(html("div", { className: "control", title: control.help },
      html("b", {}, control.label), html("span", { className: "muted" }, control.unit ? `[${control.unit}] ${control.help}` : control.help), output, slider));
    const show = (value) => {
      if (value !== sent && Date.now() - moved < ON_THE_WAY) return;
      slider.value = position(value);
      say(value);
    };
    show(control.value);
    return [control.name, show];
  });
  section.hidden = !controls.length;
  return (settings) => sliders.forEach(([name, show]) => name in settings && show(settings[name]));
}
