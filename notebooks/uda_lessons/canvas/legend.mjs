// What the marks mean.

import { html } from "./dom.mjs";

export function makeLegend(facts, look) {
  const shape = (inside) => {
    const node = html("span");
    node.innerHTML = `<svg viewBox="-7 -7 14 14" fill="none" stroke="currentColor" stroke-width="1.6" aria-hidden="true">${inside}</svg>`;
    return node.firstChild;
  };
  const path = Array.from({ length: 10 }, (_, i) => {
    const r = i % 2 ? 3 : 7, a = (i * Math.PI) / 5 - Math.PI / 2;
    return `${(r * Math.cos(a)).toFixed(1)},${(r * Math.sin(a)).toFixed(1)}`;
  }).join(" ");
  const [filled, hollow] = [`<polygon points="${path}" fill="currentColor"/>`, `<polygon points="${path}"/>`].map(shape), { words } = facts;
  const wrong = html("span", { hidden: true }, shape('<path d="M-4-4 4 4M-4 4 4-4"/>'), "wrong prediction");
  const swatches = facts.classes.slice(0, 20).map((name, c) =>
    html("span", {}, shape(`<circle r="4.5" fill="${look.classes[c % look.classes.length]}" stroke="none"/>`), name));
  const node = html("div", { className: "legend" },
    html("span", {}, shape('<circle r="4.5" fill="currentColor"/>'), words.source),
    html("span", {}, shape('<circle r="4.5"/>'), words.target),
    ...(words.filled === words.hollow ? [html("span", {}, filled, hollow, words.filled)] : [html("span", {}, filled, words.filled), html("span", {}, hollow, words.hollow)]),
    wrong);
  return { node, swatches: html("div", { className: "legend" }, ...swatches), wrong };
}
