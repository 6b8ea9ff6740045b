import assert from "node:assert/strict";
import test from "node:test";

import { css, percent, rgb, uint16 } from "../../notebooks/uda_lessons/canvas/dom.mjs";

test("numbers in words", () => {
  assert.equal(percent(0.123), "12 %");
  assert.equal(percent(0.1234, 1), "12.3 %");
  assert.deepEqual([css(-1), css(0.5), css(2)], ["0%", "50%", "100%"]);
});

test("colours and bytes", () => {
  assert.deepEqual(rgb("#0102ff"), [1, 2, 255]);
  const within = new DataView(new Uint8Array([9, 9, 1, 0, 255, 255]).buffer, 2); // an offset that an uint16 view cannot have
  assert.deepEqual([...uint16(within)], [1, 65535]);
});
