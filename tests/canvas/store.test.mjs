// What the page asks of Python, and when: two ticks under way, none lost, none piling up.

import test from "node:test";
import assert from "node:assert/strict";
import { makeStore } from "../../notebooks/uda_lessons/canvas/store.mjs";

function makePage(context) {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1e12 });
  const page = { sent: [], pass: (milliseconds) => context.mock.timers.tick(milliseconds) };
  let hear;
  page.store = makeStore({
    get: () => ({}),
    on: (_, listener) => (hear = listener),
    send: (message) => page.sent.push(message),
  });
  page.hear = (message) => hear(message, []);
  page.ticks = () => page.sent.filter((message) => message.do === "tick").map((message) => message.n);
  page.answer = (n, more, after = 0) => page.hear({ do: "answer", n, more, after });
  page.state = (state) => page.hear({ do: "state", records: [], moved: [], ...state });
  return page;
}

test("two ticks are under way, and each answer is followed by one", (context) => {
  const page = makePage(context);
  assert.deepEqual(page.sent.map((message) => message.do), ["hello", "tick", "tick"]);
  for (let i = 0; i < 10; i++) page.answer(page.ticks()[i], true);
  assert.equal(page.ticks().length, 12);
});

test("clicks and wakes add none while two are under way", (context) => {
  const page = makePage(context);
  for (const what of ["play", "pause", "step"]) page.store.do(what);
  page.hear({ do: "wake" });
  assert.equal(page.ticks().length, 2);
});

test("at rest one tick asks now and then, until nothing is left to do", (context) => {
  const page = makePage(context);
  page.ticks().forEach((n) => page.answer(n, true, 0.2));
  assert.equal(page.ticks().length, 2);
  page.pass(200);
  assert.equal(page.ticks().length, 3);
  page.answer(page.ticks()[2], false);
  page.pass(1000);
  assert.equal(page.ticks().length, 3);
});

test("a wake that crosses the last answer is not lost", (context) => {
  const page = makePage(context);
  page.hear({ do: "wake" });
  page.answer(page.ticks()[0], false);
  assert.equal(page.ticks().length, 3);
});

test("after a long cell no more ticks are under way than before it", (context) => {
  const page = makePage(context);
  page.store.do("play");
  for (let i = 0; i < 5; i++) {
    page.pass(3000);
    page.store.do("play");
  }
  const queued = page.ticks(); // Python answers them all, in turn, once the cell has ended
  assert.equal(queued.length, 4); // given up once, after ten seconds
  queued.forEach((n) => page.answer(n, true));
  assert.equal(page.ticks().length, 6); // two under way again: the two given up have no followers
});

test("Play without a word from Python waits for a running cell, until Python says that it plays", (context) => {
  const page = makePage(context), said = [];
  page.store.views.add(() => said.push(page.store.waiting));
  page.store.do("play");
  page.pass(199);
  assert.deepEqual(said, []);
  page.pass(1);
  assert.deepEqual(said, [true]);
  page.state({ playing: true, busy: false });
  assert.equal(page.store.waiting, false);
});

test("Play that is heard waits only if Python says that a cell keeps it", (context) => {
  const page = makePage(context);
  page.store.do("play");
  page.state({ playing: true, busy: false });
  page.pass(1000);
  assert.equal(page.store.waiting, false);
  page.state({ playing: true, busy: true });
  assert.equal(page.store.waiting, true);
  page.state({ playing: false, busy: true }); // paused meanwhile
  assert.equal(page.store.waiting, false);
});
