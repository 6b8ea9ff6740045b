// Numbers that need no target labels: those of the gap as curves, the others beside those of the run before; and the gradient cosines.

import { html, rgb, percent, css } from "./dom.mjs";
import { makeCurve, series } from "./curves.mjs";

export function numberText({ percent: isShare, unit }, value) {
  if (isShare) return percent(value);
  return unit ? `${value.toFixed(2)} ${unit}` : value.toFixed(2);
}

// [step, value] of a number wherever it was measured: some are measured more rarely than looked at, and a frame holds the last.
export function gapPoints(film, name, curve) {
  const points = new Map();
  for (const frame of film) if (name in frame.numbers) points.set(frame[curve], frame.numbers[name]);
  return [...points];
}

export function makeGap(section, facts) {
  const shown = facts.numbers.filter((number) => number.curve), list = html("div", { className: "curves" });
  const rows = shown.map((number) => {
    const fixed = number.high === null ? null : [number.low, number.high];
    const row = makeCurve({ label: number.label, help: number.help, text: (value) => numberText(number, value), fixed });
    list.append(row.node);
    return [number, row];
  });
  section.hidden = !shown.length;
  section.append(html("h4", {}, facts.words.gap), list, html("p", { className: "muted" }, facts.words.control));
  let ghost = null, before = new Map();
  return (store, steps, at, theme) => {
    if (store.ghost !== ghost) [ghost, before] = [store.ghost, series(store.ghost.gap)];
    for (const [{ name, curve }, row] of rows) {
      const control = store.film[store.at]?.numbers[`${name}_control`];
      row.show({ points: gapPoints(store.film, name, curve), ghost: before.get(name), control, steps, at, theme });
    }
  };
}

export function makeNumbers(section, facts) {
  const rows = facts.numbers.filter((number) => !number.curve).map((number) => {
    const output = html("output"), before = html("small"), bar = html("div"), mark = html("i", { hidden: true });
    const high = number.high ?? Math.log(facts.classes.length);
    const share = (v) => css((v - number.low) / (high - number.low));
    section.append(html("div", { className: "number", title: number.help },
      html("span", {}, number.label), before, output, html("div", { className: "gauge" }, bar, mark)));
    return (numbers, ghost) => {
      const value = numbers[number.name], old = ghost?.[number.name];
      output.value = value === undefined ? "" : numberText(number, value);
      bar.style.width = value === undefined ? 0 : share(value);
      before.textContent = old === undefined ? "" : numberText(number, old);
      mark.hidden = old === undefined;
      if (!mark.hidden) mark.style.left = share(old);
    };
  });
  return (numbers, ghost) => rows.forEach((row) => row(numbers, ghost));
}

// Black or white, whichever is easier to read on a colour [r, g, b].
export function readable(colour) {
  const [r, g, b] = colour.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "black" : "white"; // where both have the same contrast
}

export function makeCosines(section, facts, look) {
  const mix = (a, b, t) => a.map((v, i) => Math.round(v + t * (b[i] - v)));
  const [opposed, neutral, aligned, unknown] = look.cosine.map(rgb);
  const table = html("table", { className: "cosines" });
  let shown = "";
  section.append(table, html("p", { className: "muted" }, facts.words.cosines));
  return (cosines) => {
    section.hidden = !cosines;
    if (!cosines || JSON.stringify(cosines) === shown) return;
    shown = JSON.stringify(cosines);
    const head = html("tr", {}, html("th"), ...facts.classes.map((name) => html("th", { scope: "col" }, name)));
    const rows = cosines.map((row, i) => {
      const cells = row.map((c) => {
        const colour = c === null ? unknown : c < 0 ? mix(neutral, opposed, -c) : mix(neutral, aligned, c);
        const text = c === null ? "" : c.toFixed(1).replace("-0.0", "0.0");
        return html("td", { style: `background: rgb(${colour}); color: ${readable(colour)}` }, text);
      });
      return html("tr", {}, html("th", { scope: "row" }, `head ${i + 1}`), ...cells);
    });
    table.replaceChildren(head, ...rows);
  };
}
