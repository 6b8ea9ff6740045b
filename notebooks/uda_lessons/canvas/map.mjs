// The feature map: points, and how they move from frame to frame.

import { html, uint16, rgb } from "./dom.mjs";
import { makeStamps, press, reach, classColour, classGlyph } from "./stamps.mjs";
import { whole, seenAt, zoomed, dragged, turned } from "./camera.mjs";
import { makeOverlay } from "./overlay.mjs";
import { addTools } from "./tools.mjs";

const GLIDE = 250; // milliseconds from one frame to the next
const BUSY = 1000; // frames that come sooner than this after the last one keep arriving
const PAD = 9; // CSS pixels from the outermost points to the edge

// What lies under the points; `rarely` are the milliseconds between two draws while frames keep arriving, as training needs
// the processor more.
const paper = {
  rarely: 83,
  fill({ theme }, image) {
    const [r, g, b] = rgb(theme.paper);
    new Uint32Array(image.data.buffer).fill((255 << 24) | (b << 16) | (g << 8) | r);
  },
  line() {},
};

// `film()` are the frames so far, through which a followed point leaves its trail.
export function makeMap(facts, look, stage, film = () => [], ground = paper) {
  const points = html("canvas"), over = html("canvas", { tabIndex: 0, role: "img" });
  over.dataset.lmSuppressShortcuts = true; // JupyterLab takes none of the keys pressed here
  stage.prepend(points, over);
  const n = facts.source + facts.target, labels = uint16(facts.labels), calm = matchMedia("(prefers-reduced-motion: reduce)");
  const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => ((a * 7919) % n) - ((b * 7919) % n));
  const map = { over, points, place: new Float32Array(2 * n), frame: null, chosen: -1, followed: -1, domains: false, lines: false };
  const drawOverlay = makeOverlay(map, facts, look, stage, film), context = points.getContext("2d", { alpha: false });
  let camera = whole, theme, scale, setting, palette, stamps, margin, image, truth;
  let from = null, along = 1, started = 0, timer = 0, request = 0; // the glide that is under way
  let busy = false, newest = 0, arrived = -BUSY, drawn = 0, fresh = false, marked = false; // frames come, are drawn, and their stars

  map.resize = (newTheme) => {
    const ratio = window.devicePixelRatio || 1, side = Math.max(1, Math.round(stage.clientWidth * ratio));
    const wanted = [newTheme.paper, ratio, side, look.radius, getComputedStyle(stage).fontSize].join();
    if (setting === wanted) return;
    [theme, scale, setting, map.theme, map.scale] = [newTheme, ratio, wanted, newTheme, ratio];
    for (const canvas of [points, over]) canvas.width = canvas.height = side;
    margin = 2 * reach(look, scale); // of the image around the canvas, for marks that are half outside
    image = new ImageData(side + 2 * margin, side + 2 * margin);
    stamps = makeStamps(look, scale, image.width);
    palette = facts.classes.map((_, c) => rgb(classColour(theme, c)));
    map.redraw();
  };
  // Where a position, 0 to 65535 with y upwards, lies on the canvas.
  map.pixel = (value, axis) => {
    const at = axis ? seenAt(camera, "y", 1 - value / 65535) : seenAt(camera, "x", value / 65535);
    return PAD * scale + at * (points.width - 2 * PAD * scale);
  };
  map.where = (i) => [0, 1].map((axis) => map.pixel(map.place[2 * i + axis], axis) / scale); // CSS pixels

  function drawPoints() {
    const { place, frame } = map, ink = rgb(theme.ink), domain = theme.domains.map(rgb);
    const glyphs = facts.classes.map((_, c) => classGlyph(theme, c)), outside = points.width + margin / 2;
    ground.fill(map, image, margin, palette);
    for (const i of order) {
      const x = map.pixel(place[2 * i], 0), y = map.pixel(place[2 * i + 1], 1);
      if (Math.min(x, y) < -margin / 2 || Math.max(x, y) > outside) continue;
      const source = i < facts.source, c = source ? labels[i] : frame.predictions[i];
      const set = source ? stamps.filled : stamps.hollow;
      press(image, set[glyphs[c]], x + margin, y + margin, map.domains ? domain[source ? 0 : 1] : palette[c]);
      const right = source ? c : truth?.[i - facts.source] ?? facts.no_label;
      if (right !== facts.no_label && c !== right) press(image, stamps.cross, x + margin, y + margin, ink);
    }
    context.putImageData(image, -margin, -margin);
    ground.line(map, context);
  }
  function draw() {
    const { place, frame } = map, t = busy ? along : along * (2 - along); // slower towards the end, where it does not go on
    for (let i = 0; i < 2 * n; i++) place[i] = along < 1 ? from[i] + t * (frame.positions[i] - from[i]) : frame.positions[i];
    drawPoints();
    if (!marked || map.chosen >= 0 || map.followed >= 0) drawOverlay();
    marked = true;
    drawn = performance.now();
    if (fresh && frame.sent) points.dataset.late = Date.now() - 1000 * frame.sent;
    fresh = false;
    if (along < 1) return;
    points.dataset.step = frame.step;
    map.onrest?.();
  }
  map.redraw = () => {
    marked = false;
    if (map.frame) draw();
  };
  function glide() {
    along = Math.min(1, busy ? along + 0.5 : (performance.now() - started) / GLIDE);
    timer = request = 0;
    draw();
    if (along < 1) goOn();
  }
  function goOn() {
    if (timer || request) return;
    if (busy) timer = setTimeout(glide, drawn + ground.rarely - performance.now());
    else request = requestAnimationFrame(glide);
  }
  map.show = (frame, newTruth, glides) => {
    if (frame === map.frame && newTruth === truth) return;
    const now = performance.now(), arrives = frame.sent > newest, { positions, centroids } = frame;
    busy = arrives && now - arrived < BUSY;
    if (arrives) [newest, arrived] = [frame.sent, now];
    // From PCA to UMAP is a cut: a glide would look like alignment. What stands still need not glide.
    const moves = glides && map.frame?.map === frame.map && !calm.matches && positions.some((v, i) => v !== map.place[i]);
    marked &&= Boolean(map.frame) && centroids.every((v, i) => v === map.frame.centroids[i]);
    fresh = frame !== map.frame;
    [from, along, started, map.frame, truth] = [map.place.slice(), moves ? 0 : 1, now, frame, newTruth];
    if (moves || busy) return goOn();
    clearTimeout(timer);
    cancelAnimationFrame(request);
    timer = request = 0;
    draw();
  };

  map.choose = (i) => {
    map.chosen = i;
    if (!map.frame) return;
    const [x, y] = i < 0 ? [0, 0] : map.where(i), side = stage.clientWidth;
    if (Math.min(x, y) < 0 || Math.max(x, y) > side) aim(turned(camera, map.place[2 * i] / 65535, 1 - map.place[2 * i + 1] / 65535));
    else drawOverlay();
  };
  map.follow = (i) => {
    map.followed = i === map.followed ? -1 : i;
    drawOverlay();
  };
  map.nearest = (x, y, within = 14, allowed = () => true) => {
    let best = -1, least = within * within;
    for (let i = 0; i < n; i++) {
      const [px, py] = map.where(i), d = (px - x) ** 2 + (py - y) ** 2;
      if (d < least && allowed(px - x, py - y)) [best, least] = [i, d];
    }
    return best;
  };
  function aim(next) {
    camera = next;
    map.onzoom(camera.zoom);
    map.redraw();
  }
  map.zoom = (factor, x, y) => aim(zoomed(camera, factor, x, y));
  map.pan = (dx, dy) => aim(dragged(camera, dx, dy));
  map.home = () => aim(whole);
  addTools(map, stage);
  const resized = new ResizeObserver(() => map.frame && drawOverlay()); // names keep clear of what lies over the map
  for (const node of stage.children) if (node.localName !== "canvas") resized.observe(node);
  return map;
}
