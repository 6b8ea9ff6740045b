import assert from "node:assert/strict";
import test from "node:test";

import { dragged, placeAt, seenAt, turned, whole, zoomed } from "../../notebooks/uda_lessons/canvas/camera.mjs";
import { placeLabels } from "../../notebooks/uda_lessons/canvas/labels.mjs";
import { classColour, classGlyph, glyphOutline, makeStamps, press, reach } from "../../notebooks/uda_lessons/canvas/stamps.mjs";

const LOOK = { radius: 4, line: 2 }, THEME = { classes: Array.from({ length: 10 }, (_, c) => `colour ${c}`) };

function picture(width, height = width) {
  return { width, height, data: new Uint8ClampedArray(4 * width * height) };
}
const area = (stamp) => stamp.covers.reduce((sum, cover) => sum + cover, 0);

test("no class of forty has the colour and the glyph of another", () => {
  const looks = Array.from({ length: 40 }, (_, c) => `${classColour(THEME, c)} ${classGlyph(THEME, c)}`);
  assert.equal(new Set(looks).size, 40);
  assert.deepEqual([0, 9, 10, 20, 30].map((c) => classGlyph(THEME, c)), [0, 0, 1, 2, 3]);
});

test("the outline of each glyph is what its stamp covers", () => {
  assert.equal(glyphOutline(THEME, 0, 4), '<circle r="4"/>');
  const corners = [10, 20, 30].map((c) => glyphOutline(THEME, c, 4).match(/-?\d+\.\d,-?\d+\.\d/g).map((at) => at.split(",").map(Number)));
  const [square, triangle, diamond] = corners;
  assert.deepEqual(square.map(([x, y]) => [Math.abs(x), Math.abs(y)]), Array(4).fill([3.5, 3.5])); // sqrt(pi) / 2 * 4
  assert.deepEqual(diamond.map((at) => at.map(Math.abs).toSorted((a, b) => a - b)), Array(4).fill([0, 5]));
  assert.equal(Math.min(...triangle.map(([, y]) => y)), -6.2); // its tip is up: 2 * sqrt(pi / sqrt(27)) * 4
});

test("the stamps of all glyphs cover as much, the hollow ones their edge alone", () => {
  const stamps = makeStamps({ radius: 20, line: 2 }, 1, 200), disc = Math.PI * 400;
  for (const stamp of stamps.filled) {
    assert.ok(Math.abs(area(stamp) - (0.7 * disc + 0.3 * 2 * 2 * Math.PI * 20)) < 0.05 * disc); // its edge is solid
    assert.equal(Math.max(...stamp.covers), 1);
  }
  assert.ok(Math.abs(area(stamps.hollow[0]) - 2 * 2 * Math.PI * 20) < 10);
  assert.ok(stamps.hollow.every((stamp) => area(stamp) < 0.3 * disc));
});

test("a stamp is pressed where it should, and stays within its reach", () => {
  const half = reach(LOOK, 1), image = picture(2 * half + 1), stamps = makeStamps(LOOK, 1, image.width);
  press(image, stamps.filled[0], half, half, [200, 100, 50]);
  const at = (x, y) => [...image.data.slice(4 * (y * image.width + x), 4 * (y * image.width + x) + 3)];
  assert.deepEqual(at(half + 3, half), [200, 100, 50]); // the edge, in full
  assert.deepEqual(at(half, half), [140, 70, 35]); // 0.7 of it
  assert.deepEqual(at(half + 5, half), [0, 0, 0]);
  for (const stamp of [...stamps.filled, ...stamps.hollow, stamps.cross])
    for (const step of stamp.steps) assert.ok(Math.abs(step / 4) <= half * image.width + half);
});

test("a zoom leaves the place under the pointer where it is", () => {
  const before = zoomed(whole, 3, 0.4, 0.7), place = placeAt(before, "x", 0.6), after = zoomed(before, 2, 0.6, 0.5);
  assert.equal(after.zoom, 6);
  assert.ok(Math.abs(seenAt(after, "x", place) - 0.6) < 1e-12);
  assert.deepEqual(zoomed(after, 1e-9), whole);
});

test("the camera never leaves the map", () => {
  assert.deepEqual(dragged(whole, 0.3, -0.2), whole);
  assert.deepEqual(dragged(zoomed(whole, 2), 9, 0), { x: 0.25, y: 0.5, zoom: 2 });
  assert.deepEqual(dragged(zoomed(whole, 2), -0.1, 0.1), { x: 0.55, y: 0.45, zoom: 2 });
  assert.deepEqual(turned(zoomed(whole, 4), 0.9, 0.3), { x: 0.875, y: 0.3, zoom: 4 });
});

const label = (x, y) => ({ x, y, width: 40, height: 10 });

test("a label stands to the right of its star, at the edge to the left", () => {
  const [free, edge] = placeLabels([label(50, 50), label(180, 100)], 8, 200, [], [], []);
  assert.deepEqual(free, { left: 58, top: 42.5, width: 40, height: 10 });
  assert.equal(edge.left, 180 - 8 - 40);
});

test("no label meets another or what is taken, and one without a place is left out", () => {
  const same = Array.from({ length: 8 }, () => label(100, 100)), boxes = placeLabels(same, 8, 200, [], [], []);
  const placed = boxes.filter(Boolean), meet = (a, b) => Math.abs(a.left - b.left) < 40 && Math.abs(a.top - b.top) < 10;
  assert.ok(placed.length >= 4 && placed.length < 8);
  placed.forEach((a, i) => placed.slice(i + 1).forEach((b) => assert.ok(!meet(a, b))));
  assert.deepEqual(placeLabels([label(100, 100)], 8, 200, [{ left: 0, top: 0, width: 200, height: 200 }], [], []), [null]);
});

test("a label avoids stars where it can, and keeps its place while it may", () => {
  const star = { left: 62, top: 44, width: 8, height: 8 }, last = [];
  assert.ok(placeLabels([label(50, 50)], 8, 200, [], [star], last)[0].left < 50);
  assert.ok(placeLabels([label(50, 50)], 8, 200, [], [], last)[0].left < 50); // where it stood, though the first choice is free
});
