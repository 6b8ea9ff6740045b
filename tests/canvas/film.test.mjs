import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import test from "node:test";

import { addUp, makeModel, unpack } from "../../notebooks/uda_lessons/canvas/film.mjs";

const bytes = (...values) => new DataView(new Uint8Array(values).buffer);

test("a packed film has its bytes where they were", async () => {
  const text = new TextEncoder().encode('{"a":{"b":{"$bytes":[1,2]}},"c":[3]}');
  const packed = gzipSync(new Uint8Array([text.length, 0, 0, 0, ...text, 9, 7, 8]));
  const film = await unpack(packed.toString("base64"));
  assert.deepEqual([film.a.b.getUint8(0), film.a.b.getUint8(1), film.a.b.byteLength], [7, 8, 2]);
  assert.deepEqual(film.c, [3]);
});

test("differences add up, around the largest number too", () => {
  // frames [256, 1], [255, 2], [511, 1]: differences 256, 1; -1, 1; 256, -1
  const wide = bytes(0, 1, 255, 1, 0, 255, 1, 0, 255, 0, 1, 255);
  assert.deepEqual(addUp(wide, 2, 3).map((frame) => [...frame]), [[256, 1], [255, 2], [511, 1]]);
  assert.deepEqual(addUp(bytes(3, 254), 1, 2).map((frame) => [...frame]), [[3], [1]]);
  assert.deepEqual(addUp(bytes(), 1, 2).map((frame) => [...frame]), [[], []]);
});

function listen(film, move = () => false) {
  const told = [], model = makeModel({ frames: [{ do: "frame", step: 0, scores: { miou: 1 } }], changes: [[1, bytes(5)]], run: { step: 3, records: [1] }, ...film }, move);
  model.on("msg:custom", (message, data) => told.push([message, data]));
  return { model, told, ask: async (what, details = {}) => (told.splice(0), model.send({ do: what, ...details }), await Promise.resolve(), told) };
}

test("hello is answered with every frame and all records", async () => {
  const { ask } = listen({});
  const [clear, [frame, data], [state]] = await ask("hello");
  assert.equal(clear[0].do, "clear");
  assert.deepEqual([frame.i, frame.step, ...data[0]], [0, 0, 5]);
  assert.deepEqual([state.records, state.step, state.playing], [[1], 3, false]);
});

test("a tick is answered, and no other is asked for", async () => {
  assert.deepEqual(await listen({}).ask("tick", { n: 7 }), [[{ do: "answer", n: 7, more: false, after: 0 }, []]]);
});

test("play moves at a steady pace until the end, and records are not sent twice", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  let left = 3; // frames: one at once, one for each turn of the clock
  const { ask, told } = listen({}, () => left-- > 0);
  const [[state]] = await ask("play");
  assert.deepEqual([state.playing, state.records, left], [true, [], 2]);
  t.mock.timers.tick(20000); // a film of one frame shows it for ten seconds
  assert.deepEqual([left, told.length], [0, 1]);
  t.mock.timers.tick(10000);
  assert.equal(told.at(-1)[0].playing, false);
});

test("pause holds the film, and play goes on", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  let moved = 0;
  const { ask } = listen({}, () => ++moved);
  await ask("play");
  assert.equal((await ask("pause"))[0][0].playing, false);
  t.mock.timers.tick(50000);
  assert.equal(moved, 1);
  await ask("play");
  t.mock.timers.tick(10000);
  assert.equal(moved, 3);
});

test("reveal gives what the film holds", async () => {
  const { ask } = listen({ reveal: { baseline: 0.5, data: [bytes(1, 0), bytes()] } });
  const [[message, data]] = await ask("reveal");
  assert.deepEqual([message.scores, message.baseline, data[0].byteLength], [[{ miou: 1 }], 0.5, 2]);
});
