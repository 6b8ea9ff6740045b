// What the marks mean. Colours are those of the theme, which the page keeps as --class-0, --class-1 and so on.

import { html } from "./dom.mjs";
import { glyphOutline } from "./stamps.mjs";

export function makeLegend(facts, look) {
  const shape = (inside) => {
    const node = html("span");
    node.innerHTML = `<svg viewBox="-7 -7 14 14" fill="none" stroke="currentColor" stroke-width="1.6" aria-hidden="true">${inside}</svg>`;
    return node.firstChild;
  };
  const star = Array.from({ length: 10 }, (_, i) => {
    const r = i % 2 ? 3 : 7, a = (i * Math.PI) / 5 - Math.PI / 2;
    return `${(r * Math.cos(a)).toFixed(1)},${(r * Math.sin(a)).toFixed(1)}`;
  }).join(" ");
  const [filled, hollow] = [`<polygon points="${star}" fill="currentColor"/>`, `<polygon points="${star}"/>`].map(shape), { words } = facts;
  const domain = (className, inside) => {
    const [noun, ...rest] = words[className].split(/(?=, )/); // the rest says what its colour means
    return html("span", { className }, shape(inside), html("span", {}, noun, html("span", { className: "hue" }, ...rest)));
  };
  const wrong = html("span", { hidden: true }, shape('<path d="M-4-4 4 4M-4 4 4-4"/>'), "wrong prediction");
  const swatches = facts.classes.map((name, c) => {
    const mark = shape(`<g fill="var(--class-${c % look.light.classes.length})" stroke="none">${glyphOutline(look.light, c, 4.5)}</g>`);
    return html("span", {}, mark, name);
  });
  const node = html("div", { className: "legend" },
    domain("source", '<circle r="4.5" fill="currentColor"/>'),
    domain("target", '<circle r="4.5"/>'),
    ...(words.filled === words.hollow ? [html("span", {}, filled, hollow, words.filled)] : [html("span", {}, filled, words.filled), html("span", {}, hollow, words.hollow)]),
    wrong);
  return { node, swatches: html("div", { className: "legend hue" }, ...swatches), wrong };
}
