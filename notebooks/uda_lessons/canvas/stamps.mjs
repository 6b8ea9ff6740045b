// The points are stamped into ImageData: without a GPU that is the one way to move 2,000 of them many times a second.

// Signed distance from a glyph at the origin, y downwards, and its outline for SVG. Each has the area of a circle of radius r.
const circle = {
  distance: (x, y, r) => Math.hypot(x, y) - r,
  outline: (r) => `<circle r="${r}"/>`,
};
function polygon(sides, turn) {
  const normals = Array.from({ length: sides }, (_, i) => turn + (2 * Math.PI * i) / sides);
  const inner = Math.sqrt(Math.PI / (sides * Math.tan(Math.PI / sides))), outer = inner / Math.cos(Math.PI / sides);
  const corner = (r, a) => `${(r * Math.cos(a)).toFixed(1)},${(r * Math.sin(a)).toFixed(1)}`;
  return {
    distance: (x, y, r) => Math.max(...normals.map((a) => x * Math.cos(a) + y * Math.sin(a))) - inner * r,
    outline: (r) => `<polygon points="${normals.map((a) => corner(outer * r, a + Math.PI / sides)).join(" ")}"/>`,
  };
}
const GLYPHS = [circle, polygon(4, 0), polygon(3, Math.PI / 2), polygon(4, Math.PI / 4)]; // as in figures.py

// The colour of class c on this theme's paper, and the number of its glyph: together they do not repeat before the fortieth.
export const classColour = (theme, c) => theme.classes[c % theme.classes.length];
export const classGlyph = (theme, c) => Math.floor(c / theme.classes.length) % GLYPHS.length;
export const glyphOutline = (theme, c, r) => GLYPHS[classGlyph(theme, c)].outline(r);

export const reach = (look, scale) => Math.ceil((1.6 * look.radius + look.line) * scale + 1); // of the largest stamp from its middle

// The pixels that a shape covers, as steps in the bytes of an image of this width, and how much of each, from 0 to 1.
function stamp(half, width, covered) {
  const steps = [], covers = [];
  for (let y = -half; y <= half; y++)
    for (let x = -half; x <= half; x++) {
      const share = covered(x, y);
      if (share < 0.01) continue;
      steps.push(4 * (y * width + x));
      covers.push(share);
    }
  return { steps: Int32Array.from(steps), covers: Float32Array.from(covers) };
}
const cover = (distance) => Math.min(1, Math.max(0, 0.5 - distance));

// Stamps for an image of this width: `filled` and `hollow` one for each glyph, and a cross.
export function makeStamps(look, scale, width) {
  const r = look.radius * scale, w = (look.line * scale) / 2, h = Math.SQRT1_2, half = reach(look, scale);
  const arm = (x, y) => Math.max(Math.abs(h * (x - y)) - w * 0.9, Math.abs(h * (x + y)) - r * 1.15);
  const filled = (d) => Math.max(0.7 * cover(d), cover(Math.abs(d + w) - w)); // others shine through, but not through its edge
  return {
    filled: GLYPHS.map(({ distance }) => stamp(half, width, (x, y) => filled(distance(x, y, r)))),
    hollow: GLYPHS.map(({ distance }) => stamp(half, width, (x, y) => cover(Math.abs(distance(x, y, r)) - w))),
    cross: stamp(half, width, (x, y) => cover(Math.min(arm(x, y), arm(-x, y)))),
  };
}

// Nearer to the edge than `reach`, a stamp would come out on the other side.
export function press({ data, width }, { steps, covers }, x, y, [r, g, b]) {
  const at = 4 * (Math.round(y) * width + Math.round(x));
  for (let k = 0; k < steps.length; k++) {
    const i = at + steps[k], a = covers[k];
    data[i] += a * (r - data[i]);
    data[i + 1] += a * (g - data[i + 1]);
    data[i + 2] += a * (b - data[i + 2]);
  }
}
