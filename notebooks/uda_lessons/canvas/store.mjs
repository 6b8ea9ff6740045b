// What the page knows, once for each board, however many views it has. Python trains one slice for each "tick".

import { uint16, uint8 } from "./dom.mjs";

const PATIENCE = 10000; // milliseconds after which a tick without an answer counts as lost

function toFrame(message, buffers) {
  const [positions, predictions, pseudo, centroids] = buffers.slice(0, 4).map(uint16);
  return { ...message, positions, predictions, pseudo, centroids, pictures: uint8(buffers[4]), plane: uint8(buffers[5]) };
}

export function makeStore(model) {
  const store = { film: [], records: [], moved: [], state: {}, truth: null, truePictures: null, baseline: null, views: new Set(), at: -1 };
  let asked = 0, timer = null, woken = false; // when a tick went out that has no answer yet
  const changed = (what) => store.views.forEach((view) => view(what));
  const ask = () => {
    clearTimeout(timer);
    if (Date.now() - asked < PATIENCE) return;
    [asked, woken] = [Date.now(), false];
    model.send({ do: "tick" });
  };
  store.do = (what) => {
    model.send({ do: what });
    if (what !== "hello") ask();
  };
  const hear = {
    wake() {
      woken = true; // while a tick is under way, its answer may already be on the road
      ask();
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
      asked = 0;
      if (woken) ask();
      else if (message.more) timer = setTimeout(ask, 1000 * message.after);
      changed("state");
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
