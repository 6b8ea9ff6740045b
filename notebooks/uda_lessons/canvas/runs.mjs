// Several films of one seed in one place: a slider switches between the runs, and the moment of the run stays.

import { html } from "./dom.mjs";
import { fit, mount, playWhenSeen } from "./film.mjs";

// `films`: what is said of each run -> its film.
export async function start(films, el) {
  const names = Object.keys(films), boxes = names.map((_, i) => html("div", { hidden: i > 0 }));
  const slider = html("input", { type: "range", min: 0, max: names.length - 1, value: 0, ariaLabel: "recorded run" });
  const said = html("p", { ariaLive: "polite" }), ends = html("p", { className: "ends", ariaHidden: "true" }, ...names.map((name) => html("span", {}, name.split(":")[0])));
  el.classList.add("runs");
  el.append(html("div", { className: "switch" }, slider, ends, said), ...boxes);
  const runs = await Promise.all(names.map((name, i) => mount(films[name], boxes[i])));
  let shown = 0;
  const choose = (i) => {
    const [from, to] = [runs[shown], runs[i]], { playing } = from.store.state;
    slider.ariaValueText = names[i];
    said.textContent = names[i].split(": ").slice(1).join(": ");
    if (from === to) return;
    shown = i;
    from.store.do("pause");
    to.show(from.store.at);
    if (from.store.truth && !to.store.truth) to.store.do("reveal");
    if (playing) to.store.do("play");
    boxes.forEach((box, k) => (box.hidden = k !== i));
  };
  slider.addEventListener("input", () => choose(Number(slider.value)));
  choose(0);
  fit(el);
  playWhenSeen(runs[0].store, el);
}
