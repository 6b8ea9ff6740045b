// The page of a film: the board's own modules, and in place of Python a run that is already known to its end.

import { makeStore } from "./store.mjs";
import { render } from "./view.mjs";

const SECONDS = 10; // for the whole film

// The object that pack.py wrote, with a DataView wherever it had bytes.
export async function unpack(base64) {
  const packed = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { buffer } = new Uint8Array(await new Response(stream).arrayBuffer()), start = 4 + new DataView(buffer).getUint32(0, true);
  const text = new TextDecoder().decode(new Uint8Array(buffer, 4, start - 4));
  return JSON.parse(text, (_, value) => (value?.$bytes ? new DataView(buffer, start + value.$bytes[0], value.$bytes[1]) : value));
}

// The buffer of each frame, from the differences between one frame and the next: all low bytes, then all high bytes.
export function addUp(changes, width, count) {
  const total = changes.byteLength / width, size = total / count, frames = [];
  for (let f = 0, at = 0; f < count; f++) {
    const frame = width === 2 ? new Uint16Array(size) : new Uint8Array(size), before = frames[f - 1] ?? new Uint8Array(size);
    for (let i = 0; i < size; i++, at++) frame[i] = before[i] + changes.getUint8(at) + (width === 2 ? changes.getUint8(total + at) << 8 : 0);
    frames.push(frame);
  }
  return frames;
}

// Answers the page as Python does, but knows all frames from the start. `move` shows the next frame, after the last one
// the first if it may begin again, and returns false where there is none.
export function makeModel({ frames, changes, reveal, run, ...traits }, move) {
  const listeners = [], buffers = changes.map(([width, of]) => addUp(of, width, frames.length));
  const tell = (message, data = []) => listeners.forEach((listener) => listener(message, data));
  const state = (playing) => tell({ do: "state", ...run, records: [], moved: [], playing });
  let timer = 0;
  const hear = {
    hello() {
      tell({ do: "clear" });
      frames.forEach((frame, i) => tell({ ...frame, i }, buffers.map((of) => of[i])));
      tell({ do: "state", ...run, playing: false });
    },
    play() {
      clearInterval(timer);
      move(true);
      timer = setInterval(() => move() || hear.pause(), (1000 * SECONDS) / frames.length);
      state(true);
    },
    pause() {
      clearInterval(timer);
      timer = 0;
      state(false);
    },
    reveal() {
      tell({ do: "reveal", scores: frames.map((frame) => frame.scores), baseline: reveal.baseline }, reveal.data);
    },
    tick: ({ n }) => tell({ do: "answer", n, more: false, after: 0 }),
  };
  return {
    get: (name) => traits[name] ?? {},
    on: (_, listener) => listeners.push(listener),
    send: (message) => queueMicrotask(() => hear[message.do]?.(message)), // as from Python, never at once
  };
}

// The film at its first frame in `el`; its store, and `show`, which goes to a frame.
export async function mount(base64, el) {
  const show = (i) => {
    store.at = i;
    store.views.forEach((view) => view("frame"));
    return true;
  };
  const move = (again) => (store.at + 1 < store.film.length ? show(store.at + 1) : Boolean(again) && show(0));
  const model = makeModel(await unpack(base64), move), store = makeStore(model);
  await Promise.resolve(); // the answer to hello
  show(0);
  render(store, model, el);
  return { store, show };
}

export async function start(base64, el) {
  const { store } = await mount(base64, el);
  fit(el);
  playWhenSeen(store, el);
}

// Plays as soon as it is seen.
export function playWhenSeen(store, el) {
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) store.do("play");
  });
  seen.observe(el);
}

// In a notebook or on the site: as high as its content, and in the theme around it.
export function fit(el) {
  const frame = window.frameElement;
  if (!frame) {
    document.documentElement.style.colorScheme = "light dark"; // the paper around the board
    return;
  }
  el.style.cssText = "margin: 0; display: flow-root";
  el.querySelectorAll(".presenter").forEach((button) => (button.hidden = true)); // here it could not fill the window
  new ResizeObserver(() => (frame.style.height = `${el.scrollHeight}px`)).observe(el);
  const outside = frame.ownerDocument, follow = () => {
    const theme = outside.documentElement.getAttribute("theme"), site = outside.documentElement.dataset.theme;
    const jpThemeLight = outside.body.dataset.jpThemeLight ?? (site && String(site === "light"));
    if (jpThemeLight) el.dataset.jpThemeLight = jpThemeLight;
    if (theme) document.documentElement.setAttribute("theme", theme);
    document.documentElement.style.colorScheme = getComputedStyle(frame).colorScheme; // or the browser paints white under it
  };
  follow();
  const themes = new MutationObserver(follow);
  themes.observe(outside.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  themes.observe(outside.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
}
