// Curves over the steps: of the losses, and of whatever else has one. A new point adds a segment; what was drawn stays.

import { html, css, spaced } from "./dom.mjs";

const SPIKES = 0.01; // share of the points that may lie above the axis: one early spike must not flatten the rest

// The ends of an axis for these values, with some room below, so that a falling curve does not leave it at every step.
export function limits(values) {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (!sorted.length) return [0, 1];
  const n = sorted.length, low = sorted[0], high = sorted[n - 1 - (n > 10 ? Math.ceil(SPIKES * n) : 0)];
  const room = 0.1 * (high - low || Math.abs(high) || 1);
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + (high === low ? room : 0)];
}

// Whether the points from number `start` on no longer fit on the axis.
export function outgrown(points, start, [low, high], above) {
  for (let i = start; i < points.length; i++) {
    if (points[i][1] < low) return true;
    if (points[i][1] > high) above++;
  }
  return above > Math.max(1, 2 * SPIKES * points.length);
}

// The steps that the axis holds, [first, how many]: halved as long as all fit, so that a beginning is seen.
export function stepAxis({ records, ghost }, goal) {
  const trained = [...records.slice(0, 1), ...records.slice(-1), ...(ghost?.records ?? [])].map(([step]) => step);
  const first = trained.length ? Math.min(...trained) - 1 : 0; // a run may have trained before it came here
  const needed = Math.max(first, ...trained) - first;
  let span = Math.max(goal - first, needed, 1);
  while (span > 20 && span / 2 >= needed) span /= 2;
  return [first, span];
}

// The points of each name, from [step, {name: value}, ...] pairs; `into` is continued.
export function series(pairs, into = new Map()) {
  for (const [step, values] of pairs)
    for (const [name, value] of Object.entries(values)) {
      if (!into.has(name)) into.set(name, []);
      into.get(name).push([step, value]);
    }
  return into;
}

// The last point not after a step; none if there is none yet.
export const pointAt = (points, step) => points.findLast((p) => p[0] <= step);

export function lossText(value) {
  return value && Math.abs(value) < 0.01 ? value.toExponential(0) : value.toFixed(3);
}

// One curve: its name, its value at the film's step, the last value of the run before, and the plot.
export function makeCurve({ label, help = "", text, fixed = null }) {
  const canvas = html("canvas", { ariaHidden: "true" }), dot = html("i", { className: "dot" }), level = html("i", { className: "level" });
  const now = html("output"), before = html("small"), plot = html("div", { className: "plot" }, canvas, level, dot);
  let size = [0, 0], axes = null, last = null; // axes: what the canvas shows, and how much of it

  function draw() {
    const { points, ghost = [], control, marks = [], steps: [first, span], at, theme } = last, [width, height] = size;
    const x = (step) => (step - first) / span, y = (v) => (Math.min(v, axes.ends[1]) - axes.ends[0]) / (axes.ends[1] - axes.ends[0]);
    const key = [width, height, first, span, theme.paper, theme.zoom, marks.length, ghost.length, points[0]?.[0]].join();
    if (!width || !height) return;
    if (axes?.key !== key || axes.drawn > points.length || outgrown(points, axes.drawn, axes.ends, axes.above)) {
      axes = { key, drawn: 0, above: 0, ends: fixed ?? limits([...points, ...ghost].map((p) => p[1])) };
      const scale = window.devicePixelRatio || 1;
      [canvas.width, canvas.height] = [width * scale, height * scale];
      const context = canvas.getContext("2d");
      context.scale(scale, scale);
      for (const [step, dashes] of marks) line(context, [[step, axes.ends[0]], [step, axes.ends[1]]], theme.muted, 1, dashes);
      line(context, ghost, theme.ghost, 1.5);
    }
    if (points.length > axes.drawn) {
      const added = points.slice(Math.max(0, axes.drawn - 1)), every = Math.ceil(added.length / 600);
      line(canvas.getContext("2d"), added.filter((_, i) => i % every === 0 || i === added.length - 1), theme.curve, 1.5);
      axes.above += points.slice(axes.drawn).filter((p) => p[1] > axes.ends[1]).length;
      axes.drawn = points.length;
    }
    const here = pointAt(points, at);
    dot.hidden = !here;
    if (here) [dot.style.left, dot.style.bottom] = [css(x(here[0])), css(y(here[1]))];
    level.hidden = control === undefined;
    if (!level.hidden) level.style.bottom = css(y(control));
    function line(context, points, colour, thick, dashes = []) {
      [context.strokeStyle, context.lineWidth, context.lineJoin] = [colour, thick * theme.zoom, "round"];
      context.setLineDash(dashes);
      context.beginPath();
      points.forEach(([step, v]) => context.lineTo(x(step) * width, (1 - y(v)) * (height - 2) + 1));
      context.stroke();
    }
  }
  new ResizeObserver(([{ contentRect: { width, height } }]) => {
    size = [width, height];
    if (last) draw();
  }).observe(canvas);
  return {
    node: html("div", { className: "curve", title: help }, html("span", {}, label), before, now, plot),
    show(what) {
      last = what;
      const here = pointAt(what.points, what.at), end = what.ghost?.at(-1);
      now.value = here ? text(here[1]) : "";
      before.textContent = end ? text(end[1]) : "";
      draw();
    },
  };
}

export function makeCurves(section, { words, losses }) {
  const rows = new Map(), list = html("div", { className: "curves" });
  const compared = html("span", { className: "muted" }), [changed, note] = [1, 2].map(() => html("p", { className: "muted" }));
  section.append(html("div", { className: "head" }, html("h4", {}, "Losses"), compared), changed, list, note);
  let records = null, seen = 0, now, ghost = null, before = new Map(), stages;
  return (store, steps, at, theme) => {
    if (store.records !== records) {
      [records, seen, now, stages] = [store.records, 0, new Map(), []];
      rows.forEach(({ node }) => node.remove());
      rows.clear();
    }
    if (store.ghost !== ghost) [ghost, before] = [store.ghost, series(store.ghost.records)];
    series(records.slice(seen), now);
    for (; seen < records.length; seen++)
      if ((records[seen][2].stage ?? 0) !== (records[seen - 1]?.[2].stage ?? 0)) stages.push(records[seen][0]);
    for (const name of new Set([...before.keys(), ...now.keys()]))
      if (!rows.has(name)) {
        rows.set(name, makeCurve({ label: losses[name] ?? spaced(name), text: lossText }));
        list.append(rows.get(name).node);
      }
    const marks = [...store.moved.map(([step]) => [step, [1.5, 2.5]]), ...stages.map((step) => [step, []])];
    rows.forEach((row, name) => row.show({ points: now.get(name) ?? [], ghost: before.get(name), marks, steps, at, theme }));
    section.hidden = !rows.size;
    changed.hidden = compared.hidden = !ghost;
    compared.textContent = words.ghost.replace("{}", ghost?.step);
    changed.textContent = store.state.changed ? words.changed + store.state.changed : words.unchanged;
    const moved = store.moved.at(-1);
    note.textContent = [stages.length && words.stage, moved && `${words.moved} Last: ${moved[1]}, from step ${moved[0]} on.`].filter(Boolean).join(" ");
    note.hidden = !note.textContent;
  };
}
