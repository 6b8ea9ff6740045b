import assert from "node:assert/strict";
import test from "node:test";

import { boundaries, classWithin, paintRegions, readFields } from "../../notebooks/uda_lessons/canvas/plane.mjs";

const field = (rows, above = rows.map((row) => row.map(() => 1))) => ({
  n: rows.length, classes: Uint8Array.from(rows.toReversed().flat()), above: Float64Array.from(above.toReversed().flat()),
}); // rows as one sees them, the top one first

test("bytes become three fields, whose levels keep ratios", () => {
  const bytes = new Uint8Array(24);
  bytes.set([0, 1, 0, 1, 0, 255, 36, 73]); // of the sum, on a grid of 2 x 2
  const [{ n, classes, above }, ...heads] = readFields(bytes);
  assert.equal(n, 2);
  assert.deepEqual([...classes], [0, 1, 0, 1]);
  assert.equal(above[0], 1);
  assert.ok(Math.abs(above[1] - 1e7) < 1);
  assert.ok(Math.abs(above[3] / above[2] - 10 ** (7 * 37 / 255)) < 1e-6);
  assert.equal(heads.length, 2);
});

test("a boundary divides the line between two nodes by their differences", () => {
  assert.deepEqual(boundaries(field([[0, 1], [0, 1]], [[3, 1], [3, 1]])), [[0.75, 0, 0.75, 1]]);
  assert.deepEqual(boundaries(field([[1, 1], [0, 0]], [[1, 1], [1, 3]])), [[1, 0.75, 0, 0.5]]);
  assert.deepEqual(boundaries(field([[2, 2], [2, 2]])), []);
});

test("the segments of a long boundary are one line, and one around a place closes", () => {
  const [across, ...others] = boundaries(field([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]));
  assert.deepEqual(across, [1.5, 0, 1.5, 1, 1.5, 2, 1.5, 3]);
  assert.deepEqual(others, []);
  const [ring, ...more] = boundaries(field([[0, 0, 0], [0, 1, 0], [0, 0, 0]]));
  assert.equal(ring.length, 10);
  assert.deepEqual(ring.slice(0, 2), ring.slice(-2));
  assert.deepEqual(more, []);
});

test("three classes meet in one place", () => {
  const lines = boundaries(field([[0, 1], [2, 2]]));
  assert.equal(lines.length, 3);
  const [x, y] = [(0.5 + 0 + 1) / 3, (1 + 0.5 + 0.5) / 3];
  for (const line of lines) assert.ok([line.slice(0, 2), line.slice(-2)].some(([a, b]) => Math.abs(a - x) + Math.abs(b - y) < 1e-12));
});

test("within a cell the class with the most weight wins, as the boundary has it", () => {
  const cell = field([[0, 1], [0, 1]], [[3, 1], [3, 1]]);
  assert.deepEqual([0.74, 0.76].map((u) => classWithin(cell, 0, u, 0.5)), [0, 1]);
  const three = field([[1, 2], [0, 0]]);
  assert.deepEqual([[0.5, 0.1], [0.1, 0.9], [0.9, 0.9]].map(([u, v]) => classWithin(three, 0, u, v)), [0, 1, 2]);
});

test("regions are tinted, and striped where the heads disagree", () => {
  const left = field([[0, 1], [0, 1]], [[3, 1], [3, 1]]), right = field([[0, 1], [0, 1]], [[1, 3], [1, 3]]), pixels = new Uint32Array(64);
  paintRegions(pixels, 8, [left, left, right], { left: 0, bottom: 8, size: 8 }, [10, 11], [20, 21], 4);
  const row = [...pixels.slice(0, 8)]; // boundaries at 6 and at 2: between them the heads disagree, and each fourth pixel is striped
  assert.deepEqual(row, [10, 10, 10, 10, 20, 10, 11, 11]);
  assert.equal(new Set(pixels).has(0), false);
});
