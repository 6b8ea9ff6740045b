// The plane: samples where they lie, the class predicted at every place, both heads' boundaries, and where they disagree.

import { html, uint16, rgb } from "./dom.mjs";
import { makeStamps, press } from "./stamps.mjs";

const TINT = 0.16, HATCH = 0.42; // how much of a class's colour, and of the ink, lies on the paper
const RATIO = Math.log(1e7) / 255; // between two levels of a byte, as `regions` in plane.py writes them
const ABOVE = Float64Array.from({ length: 256 }, (_, level) => Math.exp(level * RATIO));

// Both heads' sum, the first and the second head, each on a grid of n x n nodes: its class, and how far that is above the next.
export function readFields(bytes) {
  const size = bytes.length / 6, n = Math.sqrt(size);
  return [0, 1, 2].map((i) => {
    const classes = bytes.subarray(2 * i * size, (2 * i + 1) * size);
    return { n, classes, above: Float64Array.from(bytes.subarray((2 * i + 1) * size, (2 * i + 2) * size), (level) => ABOVE[level]) };
  });
}

// The lines between different classes, as lists of points [x, y, x, y, ...] in steps of the grid, from node 0 on.
export function boundaries({ n, classes, above }) {
  const places = new Map(), joined = new Map(); // by a number for each edge of the grid and for each cell's middle
  const join = (a, b) => [[a, b], [b, a]].forEach(([from, to]) => joined.set(from, [...(joined.get(from) ?? []), to]));
  for (let y = 0; y < n - 1; y++)
    for (let x = 0; x < n - 1; x++) {
      const a = y * n + x, [b, d] = [a + 1, a + n], c = d + 1;
      if (classes[a] === classes[b] && classes[a] === classes[c] && classes[a] === classes[d]) continue;
      const crossed = [];
      for (const [p, q, id] of [[a, b, 3 * a], [b, c, 3 * b + 1], [d, c, 3 * d], [a, d, 3 * a + 1]]) {
        if (classes[p] === classes[q]) continue;
        const t = above[p] / (above[p] + above[q]), along = id % 3 === 0;
        places.set(id, [(p % n) + (along ? t : 0), Math.floor(p / n) + (along ? 0 : t)]);
        crossed.push(id);
      }
      if (crossed.length === 2) join(...crossed);
      else {
        const middle = 3 * a + 2, mean = (k) => crossed.reduce((sum, id) => sum + places.get(id)[k], 0) / crossed.length;
        places.set(middle, [mean(0), mean(1)]);
        crossed.forEach((id) => join(id, middle));
      }
    }
  const lines = [], take = (from, to) => joined.get(from).splice(joined.get(from).indexOf(to), 1);
  const follow = (start) => {
    while (joined.get(start).length) {
      const line = [...places.get(start)];
      for (let at = start; joined.get(at).length; ) {
        const [next] = joined.get(at);
        take(at, next);
        take(next, at);
        line.push(...places.get(next));
        at = next;
        if (joined.get(at).length !== 1) break; // an end, or a place where three classes meet
      }
      lines.push(line);
    }
  };
  const ends = [...joined.keys()].filter((id) => joined.get(id).length !== 2);
  [...ends, ...joined.keys()].forEach(follow); // what is left has no end: it goes round
  return lines;
}

// The class at (u, v) within the cell whose lower left node is `at`: that with the most weight among the four corners.
export function classWithin({ n, classes, above }, at, u, v) {
  const up = at + n, [ka, kb, kc, kd] = [classes[at], classes[at + 1], classes[up], classes[up + 1]];
  const a = (1 - u) * (1 - v) * above[at], b = u * (1 - v) * above[at + 1], c = (1 - u) * v * above[up], d = u * v * above[up + 1];
  const weight = (k) => (ka === k ? a : 0) + (kb === k ? b : 0) + (kc === k ? c : 0) + (kd === k ? d : 0);
  let best = ka;
  if (weight(kb) > weight(best)) best = kb;
  if (weight(kc) > weight(best)) best = kc;
  return weight(kd) > weight(best) ? kd : best;
}

// Fills side x side pixels: `plain[class]` where the heads agree, and stripes of `hatched[class]`, each `every` pixels, where not.
export function paintRegions(pixels, side, [sum, first, second], plain, hatched, every) {
  const { n } = sum, size = side / (n - 1), edge = Array.from({ length: n }, (_, i) => Math.round(i * size));
  const even = ({ classes: k }, at) => k[at] === k[at + 1] && k[at] === k[at + n] && k[at] === k[at + n + 1];
  for (let y = 0; y < n - 1; y++)
    for (let x = 0; x < n - 1; x++) {
      const at = y * n + x, one = even(first, at), two = even(second, at), both = even(sum, at);
      const agree = one && two && first.classes[at] === second.classes[at]; // and so does their sum
      for (let row = edge[y]; row < edge[y + 1]; row++) {
        const up = side - 1 - row, v = (row + 0.5) / size - y, start = up * side;
        if (agree) pixels.fill(plain[sum.classes[at]], start + edge[x], start + edge[x + 1]);
        else
          for (let column = edge[x]; column < edge[x + 1]; column++) {
            const u = (column + 0.5) / size - x, classOf = (field, clear) => (clear ? field.classes[at] : classWithin(field, at, u, v));
            const striped = (column + up) % every < every / 4 && classOf(first, one) !== classOf(second, two);
            pixels[start + column] = (striped ? hatched : plain)[classOf(sum, both)];
          }
      }
    }
}

const mixed = (a, b, share) => a.map((v, k) => Math.round(v + share * (b[k] - v)));
const packed = ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r; // as an ImageData has it, seen as uint32

export function makePlane(facts, look, stage) {
  const points = html("canvas"), over = html("canvas", { tabIndex: 0, role: "img" });
  stage.prepend(points, over);
  const n = facts.source + facts.target, labels = uint16(facts.labels);
  const map = { over, points, place: new Float32Array(2 * n), frame: null, chosen: -1 };
  let stamps, image, theme, truth, scale, palette;

  map.resize = (newTheme) => {
    theme = newTheme;
    scale = window.devicePixelRatio || 1;
    palette = facts.classes.map((_, c) => rgb(theme.classes[c % theme.classes.length]));
    const side = Math.max(1, Math.round(stage.clientWidth * scale));
    for (const canvas of [points, over]) canvas.width = canvas.height = side;
    stamps = makeStamps(look, scale);
    image = new ImageData(side, side);
    if (!map.frame) return;
    draw();
    drawOver();
  };
  // Where a position, 0 to 65535 with y upwards, lies on the canvas.
  const pixel = (value, axis) => (axis ? 1 - value / 65535 : value / 65535) * points.width;

  function draw() {
    const side = points.width, paper = rgb(theme.paper), ink = rgb(theme.ink), p = map.place;
    const tints = palette.map((colour) => mixed(paper, colour, TINT)), fields = readFields(map.frame.plane);
    const stripes = tints.map((tint) => packed(mixed(tint, ink, HATCH)));
    paintRegions(new Uint32Array(image.data.buffer), side, fields, tints.map(packed), stripes, Math.round(7 * scale));
    for (let i = 0; i < n; i++) {
      const x = pixel(p[2 * i], 0), y = pixel(p[2 * i + 1], 1), predicted = map.frame.predictions[i];
      if (i < facts.source) press(image, stamps.filled, x, y, palette[labels[i]], 0.9);
      else {
        press(image, stamps.hollow, x, y, palette[predicted], 1);
        const true_ = truth?.[i - facts.source] ?? predicted;
        if (predicted !== true_) press(image, stamps.cross, x, y, ink, 0.9);
      }
    }
    const context = points.getContext("2d"), step = side / (fields[0].n - 1);
    context.putImageData(image, 0, 0);
    context.lineJoin = context.lineCap = "round";
    for (const [head, dashes] of [[1, []], [2, [7 * scale, 6 * scale]]]) {
      const lines = new Path2D();
      for (const line of boundaries(fields[head]))
        for (let i = 0; i < line.length; i += 2) lines[i ? "lineTo" : "moveTo"](line[i] * step, side - line[i + 1] * step);
      context.setLineDash(dashes);
      for (const [width, colour] of [[4, theme.paper], [2, theme.ink]]) {
        context.lineWidth = width * scale;
        context.strokeStyle = colour;
        context.stroke(lines);
      }
    }
    points.dataset.step = map.frame.step;
  }
  function drawOver() {
    const context = over.getContext("2d");
    context.clearRect(0, 0, over.width, over.height);
    context.font = `600 ${13 * scale}px system-ui, sans-serif`;
    context.textAlign = "center";
    facts.classes.forEach((name, c) => { // in the middle of its source samples
      const [x, y] = [map.frame.centroids[2 * c], map.frame.centroids[2 * c + 1]];
      if (x === facts.no_label) return;
      context.lineWidth = 4 * scale;
      context.strokeStyle = theme.paper;
      context.fillStyle = theme.ink;
      context.strokeText(name, pixel(x, 0), pixel(y, 1) + 4 * scale);
      context.fillText(name, pixel(x, 0), pixel(y, 1) + 4 * scale);
    });
    if (map.chosen < 0) return;
    context.beginPath();
    context.arc(...map.where(map.chosen).map((v) => v * scale), 8 * scale, 0, 7);
    context.lineWidth = 2 * scale;
    context.strokeStyle = theme.ink;
    context.stroke();
  }
  map.where = (i) => [pixel(map.place[2 * i], 0) / scale, pixel(map.place[2 * i + 1], 1) / scale]; // CSS pixels
  map.choose = (i) => {
    map.chosen = i;
    if (map.frame) drawOver();
  };
  map.nearest = (x, y, within = 14, allowed = () => true) => {
    let best = -1, least = within * within;
    for (let i = 0; i < n; i++) {
      const [px, py] = map.where(i), d = (px - x) ** 2 + (py - y) ** 2;
      if (d < least && allowed(px - x, py - y)) [best, least] = [i, d];
    }
    return best;
  };
  map.show = (frame, newTruth) => {
    const fresh = frame !== map.frame, first = !map.frame;
    [map.frame, truth] = [frame, newTruth];
    map.place.set(frame.positions);
    draw();
    if (first || map.chosen >= 0) drawOver(); // the names stand still
    if (fresh && frame.sent) points.dataset.late = Date.now() - 1000 * frame.sent;
  };
  return map;
}
