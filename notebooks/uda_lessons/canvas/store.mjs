// What the page knows, once for each board, however many views it has. Python trains one slice for each "tick", and
// answers each. Two are under way, so that Python has the next one while this page draws; a slider or Pause waits behind
// them, so no more than two.

import { uint16, uint8 } from "./dom.mjs";

const UNDER_WAY = 2;
const PATIENCE = 10000; // milliseconds without any answer after which a click takes ticks for lost
const SILENCE = 200; // milliseconds without a word from Python after Play: then a cell is running, and must end first

function toFrame(message, buffers) {
  const [positions, predictions, pseudo, centroids] = buffers.slice(0, 4).map(uint16);
  return { ...message, positions, predictions, pseudo, centroids, pictures: uint8(buffers[4]), plane: uint8(buffers[5]) };
}

export function makeStore(model) {
  const store = { film: [], records: [], moved: [], state: {}, ghost: null, truth: null, truePictures: null, baseline: null, views: new Set(), at: -1 };
  store.waiting = false; // whether Play waits for a running cell
  const unanswered = new Set(); // ticks under way, by numbers that no other page of this kernel uses
  let n = Math.floor(Math.random() * 2 ** 40), heard = 0, timer = null, silence = null, woken = false;
  const changed = (what) => store.views.forEach((view) => view(what));
  const ask = (most = UNDER_WAY) => {
    clearTimeout(timer);
    woken = false;
    while (unanswered.size < most) {
      unanswered.add(++n);
      model.send({ do: "tick", n });
    }
  };
  const wait = (waiting) => {
    clearTimeout(silence);
    if (waiting === store.waiting) return;
    store.waiting = waiting;
    changed("state");
  };
  store.do = (what, details = {}) => {
    model.send({ do: what, ...details });
    if (Date.now() - heard > PATIENCE) unanswered.clear(); // if they are answered after all, no others follow them
    if (!unanswered.size) heard = Date.now();
    if (what === "play") {
      clearTimeout(silence);
      silence = setTimeout(wait, SILENCE, true);
    }
    ask();
  };
  const hear = {
    wake() {
      ask();
      woken = true; // the answers under way may have been given before
    },
    answer({ n: answered, more, after }) {
      heard = Date.now();
      if (!unanswered.delete(answered)) return;
      if (woken || (more && !after)) ask();
      else if (more && !unanswered.size) timer = setTimeout(ask, 1000 * after, 1);
    },
    clear() {
      Object.assign(store, { film: [], records: [], moved: [], truth: null, truePictures: null, at: -1 });
      changed("clear");
    },
    frame(message, buffers) {
      const follows = store.at === store.film.length - 1;
      store.film[message.i] = toFrame(message, buffers);
      if (follows || store.at >= store.film.length) store.at = store.film.length - 1;
      changed("frame");
    },
    state(message) {
      store.records.push(...message.records);
      store.moved.push(...message.moved);
      store.state = message;
      wait(message.busy && message.playing);
      changed("state");
    },
    ghost(message) {
      store.ghost = message;
      changed("ghost");
    },
    reveal(message, buffers) {
      [store.truth, store.truePictures] = [uint16(buffers[0]), uint8(buffers[1])];
      store.baseline = message.baseline;
      message.scores.forEach((scores, i) => store.film[i] && (store.film[i].scores = scores));
      changed("frame");
    },
  };
  model.on("msg:custom", (message, buffers) => hear[message.do]?.(message, buffers));
  const first = model.get("first");
  if (first.data) hear.frame(first, first.data);
  store.do("hello");
  return store;
}
