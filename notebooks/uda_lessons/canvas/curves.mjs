// The loss curves.

import { html, spaced } from "./dom.mjs";

function drawCurve(canvas, points, moved, stages, at, [first, span], colour, theme) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, canvas.clientWidth * scale);
  canvas.height = Math.max(1, canvas.clientHeight * scale);
  const context = canvas.getContext("2d"), pad = 3 * scale;
  const values = points.map((p) => p[1]).sort((a, b) => a - b);
  const low = values[0], high = values[Math.floor(0.99 * (values.length - 1))]; // one early spike must not flatten the rest
  const x = (step) => ((step - first) / span) * (canvas.width - pad);
  const y = (v) => canvas.height - pad - ((Math.min(v, high) - low) / (high - low || 1)) * (canvas.height - 2 * pad);
  context.strokeStyle = theme.rule;
  context.lineWidth = scale;
  context.beginPath();
  context.moveTo(0, canvas.height - scale / 2);
  context.lineTo(canvas.width, canvas.height - scale / 2);
  context.stroke();
  context.strokeStyle = theme.muted;
  for (const [steps, dashes] of [[moved.map((move) => move[0]), [1.5 * scale, 2.5 * scale]], [stages, []]]) {
    context.setLineDash(dashes);
    context.beginPath();
    steps.forEach((step) => (context.moveTo(x(step), 0), context.lineTo(x(step), canvas.height)));
    context.stroke();
  }
  context.setLineDash([]);
  context.strokeStyle = colour;
  context.lineWidth = 1.5 * scale;
  context.lineJoin = "round";
  context.beginPath();
  const every = Math.ceil(points.length / 600);
  points.forEach(([step, v], i) => (i % every && i < points.length - 1) || context.lineTo(x(step), y(v)));
  context.stroke();
  if (!at) return;
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x(at[0]), y(at[1]), 3 * scale, 0, 7);
  context.fill();
}

export function makeCurves(section, { words, losses }) {
  const rows = new Map(), note = html("p", { className: "muted" });
  section.append(note);
  return ({ records, moved }, goal, at, theme, look) => {
    if (!records.length) {
      rows.forEach((row) => row.node.remove());
      rows.clear();
    }
    section.hidden = !records.length;
    const names = [...new Set(records.slice(-1).concat(records.slice(0, 1)).flatMap((r) => Object.keys(r[1])))];
    for (const name of names)
      if (!rows.has(name)) {
        const row = { canvas: html("canvas", { ariaHidden: "true" }), output: html("output") };
        row.node = html("div", { className: "loss" }, html("span", {}, losses[name] ?? spaced(name)), row.canvas, row.output);
        note.before(row.node);
        rows.set(name, row);
      }
    const stages = records.filter((r, i) => (r[2].stage ?? 0) !== (records[i - 1]?.[2].stage ?? 0)).map((r) => r[0]);
    const first = records.length ? records[0][0] - 1 : 0; // a run may have trained before it came to the board
    let i = 0, span = Math.max(goal - first, 1); // of the axis: halved as long as the curve fits, so that a beginning is seen
    while (span > 20 && span / 2 >= records.length) span /= 2;
    for (const [name, { canvas, output }] of rows) {
      const points = records.filter((r) => name in r[1]).map((r) => [r[0], r[1][name]]);
      const now = points.findLast((p) => p[0] <= at) ?? points[0];
      drawCurve(canvas, points, moved, stages, now, [first, span], look.classes[i++ % look.classes.length], theme);
      output.value = now ? (Math.abs(now[1]) < 0.01 && now[1] ? now[1].toExponential(0) : now[1].toFixed(3)) : "";
    }
    note.textContent = stages.length ? `${words.stage} ` : "";
    if (moved.length) note.textContent += `${words.moved} Last: ${moved.at(-1)[1]}, from step ${moved.at(-1)[0]} on.`;
    note.hidden = !note.textContent;
  };
}
