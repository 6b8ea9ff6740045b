// The feature map: points, stars, and how they move from frame to frame.

import { html, uint16, rgb } from "./dom.mjs";
import { makeStamps, press } from "./stamps.mjs";

const GLIDE = 250; // milliseconds from one frame to the next

export function makeMap(facts, look, stage) {
  const points = html("canvas"), over = html("canvas", { tabIndex: 0, role: "img" });
  stage.prepend(points, over);
  const palette = facts.classes.map((_, c) => rgb(look.classes[c % look.classes.length]));
  const n = facts.source + facts.target, labels = uint16(facts.labels);
  const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => ((a * 7919) % n) - ((b * 7919) % n));
  const map = { over, points, place: new Float32Array(2 * n), frame: null };
  let from = null, started = 0, pending = 0, fresh = false, stamps, image, theme, truth, scale;

  map.resize = (newTheme) => {
    theme = newTheme;
    scale = window.devicePixelRatio || 1;
    const side = Math.max(1, Math.round(stage.clientWidth * scale));
    for (const canvas of [points, over]) canvas.width = canvas.height = side;
    stamps = makeStamps(look, scale);
    image = new ImageData(side, side);
    if (map.frame) draw(1);
  };
  // Where a position, 0 to 65535 with y upwards, lies on the canvas.
  const pixel = (value, axis) => {
    const pad = 9 * scale, side = points.width - 2 * pad;
    return pad + (axis ? 1 - value / 65535 : value / 65535) * side;
  };

  function draw(t) {
    const p = map.place, target = map.frame.positions;
    for (let i = 0; i < 2 * n; i++) p[i] = from && t < 1 ? from[i] + t * (target[i] - from[i]) : target[i];
    const [r, g, b] = rgb(theme.paper), ink = rgb(theme.ink);
    new Uint32Array(image.data.buffer).fill((255 << 24) | (b << 16) | (g << 8) | r);
    for (const i of order) {
      const x = pixel(p[2 * i], 0), y = pixel(p[2 * i + 1], 1);
      if (i < facts.source) press(image, stamps.filled, x, y, palette[labels[i]], 0.72);
      else {
        press(image, stamps.hollow, x, y, palette[map.frame.predictions[i]], 1);
        const true_ = truth?.[i - facts.source] ?? facts.no_label;
        if (true_ !== facts.no_label && map.frame.predictions[i] !== true_) press(image, stamps.cross, x, y, ink, 0.9);
      }
    }
    points.getContext("2d").putImageData(image, 0, 0);
    drawStars();
    if (fresh && map.frame.sent) points.dataset.late = Date.now() - 1000 * map.frame.sent;
    fresh = false;
    if (t >= 1) points.dataset.step = map.frame.step;
  }
  function drawStars() {
    const context = over.getContext("2d"), classes = facts.classes.length, c16 = map.frame.centroids;
    context.clearRect(0, 0, over.width, over.height);
    context.font = `600 ${12 * scale}px system-ui, sans-serif`;
    for (let domain = 1; domain >= 0; domain--)
      for (let c = 0; c < classes; c++) {
        const at = 2 * (domain * classes + c);
        if (c16[at] === facts.no_label) continue;
        const x = pixel(c16[at], 0), y = pixel(c16[at + 1], 1), colour = `rgb(${palette[c]})`;
        star(context, x, y, look.star * scale);
        for (const [width, edge] of [[5, theme.paper], [domain ? 3.2 : 2.4, theme.ink], [domain ? 1.8 : 0, colour]]) {
          context.lineWidth = width * scale;
          context.strokeStyle = edge;
          if (width) context.stroke();
        }
        context.fillStyle = domain ? theme.paper : colour;
        context.fill();
        if (domain) continue;
        context.lineWidth = 3.5 * scale;
        context.strokeStyle = theme.paper;
        context.fillStyle = theme.ink;
        const width = context.measureText(facts.classes[c]).width, right = x + 9 * scale;
        const left = right + width > over.width ? x - 9 * scale - width : right; // of its star, at the map's edge
        context.strokeText(facts.classes[c], left, y - 5 * scale);
        context.fillText(facts.classes[c], left, y - 5 * scale);
      }
    if (map.chosen >= 0) {
      context.beginPath();
      context.arc(...map.where(map.chosen).map((v) => v * scale), 8 * scale, 0, 7);
      context.lineWidth = 2 * scale;
      context.strokeStyle = theme.ink;
      context.stroke();
    }
  }
  function tick(now) {
    const t = Math.min(1, (now - started) / GLIDE);
    draw(t * (2 - t));
    pending = t < 1 ? requestAnimationFrame(tick) : 0;
  }
  map.chosen = -1;
  map.where = (i) => [pixel(map.place[2 * i], 0) / scale, pixel(map.place[2 * i + 1], 1) / scale]; // CSS pixels
  map.choose = (i) => {
    map.chosen = i;
    if (map.frame) drawStars();
  };
  map.nearest = (x, y, within = 14, allowed = () => true) => {
    let best = -1, least = within * within;
    for (let i = 0; i < n; i++) {
      const [px, py] = map.where(i), d = (px - x) ** 2 + (py - y) ** 2;
      if (d < least && allowed(px - x, py - y)) [best, least] = [i, d];
    }
    return best;
  };
  map.show = (frame, newTruth, glide) => {
    // From PCA to UMAP is a cut: a glide would look like alignment. What stands still need not glide.
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches || frame.positions.every((v, i) => v === map.place[i]);
    const moves = glide && map.frame && map.frame.map === frame.map && !calm;
    from = moves ? map.place.slice() : null;
    fresh = frame !== map.frame;
    [map.frame, truth, started] = [frame, newTruth, performance.now()];
    if (!moves) {
      cancelAnimationFrame(pending);
      pending = 0;
      draw(1);
    } else if (!pending) pending = requestAnimationFrame(tick);
  };
  return map;
}

function star(context, x, y, r) {
  context.beginPath();
  for (let i = 0; i < 10; i++) {
    const angle = (i * Math.PI) / 5 - Math.PI / 2, length = i % 2 ? r * 0.45 : r;
    context.lineTo(x + length * Math.cos(angle), y + length * Math.sin(angle));
  }
  context.closePath();
}
