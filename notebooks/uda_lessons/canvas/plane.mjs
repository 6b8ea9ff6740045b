// The plane: samples where they lie, the class predicted at every place, both heads' boundaries, and where they disagree.

import { rgb } from "./dom.mjs";
import { makeMap } from "./map.mjs";

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
// Node 0 of the grid lies at (left, bottom), the next ones `size` pixels on.
export function paintRegions(pixels, side, [sum, first, second], { left, bottom, size }, plain, hatched, every) {
  const { n } = sum, within = (v) => Math.min(side, Math.max(0, Math.round(v)));
  const even = ({ classes: k }, at) => k[at] === k[at + 1] && k[at] === k[at + n] && k[at] === k[at + n + 1];
  for (let y = 0; y < n - 1; y++)
    for (let x = 0; x < n - 1; x++) {
      const at = y * n + x, one = even(first, at), two = even(second, at), both = even(sum, at);
      const agree = one && two && first.classes[at] === second.classes[at]; // and so does their sum
      const from = within(left + x * size), to = within(left + (x + 1) * size), end = within(bottom - y * size);
      for (let row = within(bottom - (y + 1) * size); row < end; row++) {
        const start = row * side, v = (bottom - row - 0.5) / size - y;
        if (agree) pixels.fill(plain[sum.classes[at]], start + from, start + to);
        else
          for (let column = from; column < to; column++) {
            const u = (column + 0.5 - left) / size - x, classOf = (field, clear) => (clear ? field.classes[at] : classWithin(field, at, u, v));
            const striped = (column + row) % every < every / 4 && classOf(first, one) !== classOf(second, two);
            pixels[start + column] = (striped ? hatched : plain)[classOf(sum, both)];
          }
      }
    }
}

const mixed = (a, b, share) => a.map((v, k) => Math.round(v + share * (b[k] - v)));
const packed = ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r; // as an ImageData has it, seen as uint32

// Where the grid, which reaches beyond the window on every side, lies on the canvas.
function grid(map, n, { beyond }) {
  const low = -beyond * 65535, high = (1 + beyond) * 65535, [left, right] = [low, high].map((v) => map.pixel(v, 0));
  return { left, bottom: map.pixel(low, 1), size: (right - left) / (n - 1) };
}

export function makePlane(facts, look, stage, film) {
  let fields; // of the frame that is drawn
  return makeMap(facts, look, stage, film, {
    rarely: 30,
    fill(map, image, margin, palette) {
      const { theme, scale } = map, tints = palette.map((colour) => mixed(rgb(theme.paper), colour, TINT));
      const stripes = tints.map((tint) => packed(mixed(tint, rgb(theme.ink), HATCH)));
      fields = readFields(map.frame.plane);
      const { left, bottom, size } = grid(map, fields[0].n, facts), moved = { left: left + margin, bottom: bottom + margin, size };
      paintRegions(new Uint32Array(image.data.buffer), image.width, fields, moved, tints.map(packed), stripes, Math.round(7 * scale));
    },
    line(map, context) {
      const { left, bottom, size } = grid(map, fields[0].n, facts), { theme, scale } = map;
      context.lineJoin = context.lineCap = "round";
      for (const [head, dashes] of [[1, []], [2, [7 * scale, 6 * scale]]]) {
        const lines = new Path2D();
        for (const line of boundaries(fields[head]))
          for (let i = 0; i < line.length; i += 2) lines[i ? "lineTo" : "moveTo"](left + line[i] * size, bottom - line[i + 1] * size);
        context.setLineDash(dashes);
        for (const [width, colour] of [[4, theme.paper], [2, theme.ink]]) {
          [context.lineWidth, context.strokeStyle] = [width * scale, colour];
          context.stroke(lines);
        }
      }
    },
  });
}
