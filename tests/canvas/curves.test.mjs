import assert from "node:assert/strict";
import test from "node:test";

import { limits, lossText, outgrown, pointAt, series, stepAxis } from "../../notebooks/uda_lessons/canvas/curves.mjs";
import { gapPoints, numberText, readable } from "../../notebooks/uda_lessons/canvas/numbers.mjs";

test("an axis leaves room below, never for less than nothing, and one spike does not flatten the rest", () => {
  assert.deepEqual(limits([3, 2]), [1.9, 3]);
  assert.deepEqual(limits([0.01, 1, 1]), [0, 1]);
  assert.deepEqual(limits([-2, -1]), [-2.1, -1]);
  assert.deepEqual(limits([5]), [4.5, 5.5]);
  assert.deepEqual(limits([...Array.from({ length: 20 }, (_, i) => 1 + (i % 2)), 1000]), [0.9, 2]);
  for (const nothing of [[], [NaN, Infinity]]) assert.deepEqual(limits(nothing), [0, 1]);
});

test("a curve is drawn anew only where its points leave the axis", () => {
  const points = [3, 2, 1, 9, 9].map((v, i) => [i, v]);
  assert.equal(outgrown(points.slice(0, 3), 0, [1, 3], 0), false);
  assert.equal(outgrown(points.slice(0, 3), 0, [1.5, 3], 0), true); // below
  assert.equal(outgrown(points.slice(0, 3), 3, [1.5, 3], 0), false); // drawn before
  assert.equal(outgrown(points.slice(0, 4), 3, [1, 3], 0), false); // one spike
  assert.equal(outgrown(points, 3, [1, 3], 0), true); // no spike: it rises
  assert.equal(outgrown(points, 4, [1, 3], 1), true); // the spike before counts
});

test("the axis of steps holds this run and the one before, and is halved while they are short", () => {
  const upTo = (n, first = 1) => Array.from({ length: n }, (_, i) => [first + i, {}]);
  assert.deepEqual(stepAxis({ records: [], ghost: null }, 400), [0, 12.5]);
  assert.deepEqual(stepAxis({ records: upTo(60), ghost: null }, 400), [0, 100]);
  assert.deepEqual(stepAxis({ records: upTo(10), ghost: { records: upTo(150) } }, 400), [0, 200]);
  assert.deepEqual(stepAxis({ records: upTo(100, 41), ghost: null }, 240), [40, 100]); // trained before it came here
  assert.deepEqual(stepAxis({ records: [], ghost: { records: upTo(800) } }, 400), [0, 800]); // played on, then Reset
});

test("a loss has points and a value only from the step on at which it was computed", () => {
  const known = series([[1, { a: 3 }], [2, { a: 2, b: 7 }]]);
  series([[3, { b: 8 }]], known);
  assert.deepEqual([...known], [["a", [[1, 3], [2, 2]]], ["b", [[2, 7], [3, 8]]]]);
  assert.equal(pointAt(known.get("b"), 1), undefined);
  assert.deepEqual(pointAt(known.get("a"), 5), [2, 2]);
});

test("the gap has one point for each step at which it was measured", () => {
  const film = [
    { step: 0, measured: null, numbers: { star: 1 } }, { step: 5, measured: 0, numbers: { star: 0.8, domain: 0.9 } },
    { step: 9, measured: 0, numbers: { star: 0.6, domain: 0.9 } }, { step: 9, measured: 9, numbers: { star: 0.6, domain: 0.7 } },
  ];
  assert.deepEqual(gapPoints(film, "domain", "measured"), [[0, 0.9], [9, 0.7]]);
  assert.deepEqual(gapPoints(film, "star", "step"), [[0, 1], [5, 0.8], [9, 0.6]]);
});

test("values in words", () => {
  assert.deepEqual([0.0042, 0, -1.5].map(lossText), ["4e-3", "0.000", "-1.500"]);
  assert.deepEqual([numberText({ percent: true }, 0.944), numberText({ unit: "nats" }, 1.234), numberText({ unit: "" }, 0.5)], ["94 %", "1.23 nats", "0.50"]);
  assert.deepEqual([[255, 255, 255], [200, 200, 0], [47, 111, 179], [0, 0, 0]].map(readable), ["black", "black", "white", "white"]);
});
