import assert from "node:assert/strict";
import test from "node:test";

import { toPosition, toValue, valueText } from "../../notebooks/uda_lessons/canvas/controls.mjs";

const rate = { kind: "log", low: 1e-5, high: 0.1 }, weight = { kind: "float", low: 0, high: 1 }, steps = { kind: "int", low: 0, high: 8 };

test("a logarithmic slider moves by powers of ten, within its range", () => {
  assert.equal(toPosition(rate, 0.01), -2);
  assert.equal(toValue(rate, -2), 0.01);
  assert.equal(toValue(rate, toPosition(rate, 0.002)), 0.002);
  assert.deepEqual([toValue(rate, -5.01), toValue(rate, -0.9)], [1e-5, 0.1]);
  assert.ok(Number.isFinite(toPosition(rate, 0))); // as a cell may set it
});

test("other sliders stand at their value", () => {
  assert.deepEqual([toPosition(weight, 0.3), toValue(weight, 0.3), toValue(steps, 8)], [0.3, 0.3, 8]);
});

test("values in words", () => {
  assert.deepEqual([valueText(rate, 0.002), valueText(weight, 0.1 + 0.2), valueText(weight, 0), valueText(steps, 5)], ["2.0e-3", "0.3", "0", "5"]);
});
