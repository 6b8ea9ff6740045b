// One view of a board: its parts, and what happens when something new is known.

import { html, percent, css, isDark } from "./dom.mjs";
import { makeMap } from "./map.mjs";
import { addTip } from "./tip.mjs";
import { makeCurves } from "./curves.mjs";
import { makeNumbers, makeCosines } from "./numbers.mjs";
import { makePictures, makeClasses } from "./pictures.mjs";
import { makeLegend } from "./legend.mjs";

export function render(store, model, el) {
  const facts = model.get("facts"), look = model.get("look");
  const root = html("div", { className: "uda" }), dense = facts.pictures > 0;
  const button = (name, text) => html("button", { className: name, type: "button", onclick: () => store.do(name) }, text);
  const [play, pause, step, reset] = ["play", "pause", "step", "reset"].map((name) => button(name, name[0].toUpperCase() + name.slice(1)));
  const reveal = button("reveal", facts.words.reveal);
  reveal.hidden = !facts.truth;
  const fill = html("div"), told = html("p"), spoken = html("p", { className: "unseen", ariaLive: "polite" });
  const error = html("div", { className: "error", role: "alert", hidden: true });
  const stage = html("div", { className: "stage" }), mark = html("div", { className: "mark", hidden: true }, facts.words.pca);
  const slider = html("input", { type: "range", min: 0, max: 0, value: 0, ariaLabel: "film", disabled: true });
  const where = html("output"), legend = makeLegend(facts, look);
  const losses = html("section", { hidden: true }, html("h4", {}, "Losses"));
  const numbers = html("section", {}, html("h4", {}, "Without target labels"));
  const pictures = html("section", { className: "panel" }), classes = html("section"), notes = html("p", { className: "muted notes" });
  const scores = html("section", { className: "revealed", hidden: true }), cosines = html("section", {}, html("h4", {}, "Gradients, class by class"));
  root.append(
    html("style", {}, `.${facts.picture} { display: none !important; }`), // this board is alive: its last picture is not needed
    html("div", { className: "bar", role: "toolbar", ariaLabel: "training" }, play, pause, step, reset,
      html("div", { className: "pace" }, html("div", { className: "track" }, fill), told), reveal),
    error,
    html("div", { className: dense ? "body dense" : "body" },
      html("div", {}, stage, html("div", { className: "film" }, html("span", { className: "muted" }, "Film"), slider, where),
        legend.node, legend.swatches, html("p", { className: "muted" }, facts.words.distances), notes),
      ...(dense
        ? [html("div", {}, pictures, scores, classes), html("div", {}, numbers), html("div", {}, losses)]
        : [html("div", {}, scores, losses, numbers, cosines)])),
    spoken);
  stage.append(mark);
  el.append(root);

  const map = makeMap(facts, look, stage);
  const announce = (text) => (spoken.textContent = text), images = model.get("images");
  addTip(map, stage, facts, images, announce);
  const drawPictures = dense && makePictures(pictures, facts, look, images, announce), drawClasses = dense && makeClasses(classes, facts, look);
  const drawCurves = makeCurves(losses, facts), drawNumbers = makeNumbers(numbers, facts), drawCosines = makeCosines(cosines, facts, look);
  let theme, wasPlaying = false;

  function showFrame(glide) {
    const frame = store.film[store.at];
    if (!frame) return;
    map.show(frame, store.truth, glide);
    mark.hidden = frame.map !== "PCA";
    slider.max = store.film.length - 1;
    slider.value = store.at;
    slider.disabled = store.film.length < 2;
    where.value = `step ${frame.step} · frame ${store.at + 1} of ${store.film.length}`;
    root.dataset.frame = store.at;
    drawNumbers(frame.numbers);
    drawCosines(frame.cosines);
    showScores(frame);
    notes.textContent = frame.notes.join(" ");
    if (dense) {
      drawPictures(frame, store.truePictures);
      drawClasses(store.truth ? frame : { ...frame, scores: null });
    }
    map.over.ariaLabel = summary(frame);
  }
  function showScores(frame) {
    const shown = Boolean(store.truth && frame.scores);
    scores.hidden = legend.wrong.hidden = !shown;
    if (!shown) return;
    const values = { ...frame.scores, baseline: store.baseline };
    const rows = facts.scores.filter(({ name }) => values[name] !== null && values[name] !== undefined)
      .map(({ name, label }) => html("div", { className: "score" }, html("span", {}, label), html("output", {}, percent(values[name], 1))));
    scores.replaceChildren(html("h4", {}, facts.words.revealed), ...rows);
    reveal.disabled = true;
  }
  function summary(frame) {
    const said = facts.numbers.filter(({ name }) => name in frame.numbers).map(({ name, label, percent: isShare }) =>
      `${label.toLowerCase()} ${isShare ? percent(frame.numbers[name]) : frame.numbers[name].toFixed(2) + " nats"}`);
    return `${frame.map} map of ${facts.source} source and ${facts.target} target features at step ${frame.step}: ${said.join(", ")}. ${frame.notes.join(" ")}`.trim();
  }
  function showState() {
    const s = store.state;
    if (s.step === undefined) return;
    mark.textContent = s.umap_error ? facts.words.no_umap : facts.words[s.umap === "restarting" ? "restarting" : "pca"];
    play.disabled = s.playing;
    pause.disabled = !s.playing;
    fill.style.width = css(s.step / s.goal);
    const pace = s.playing && s.rate ? ` · ${s.rate < 10 ? s.rate.toFixed(1) : Math.round(s.rate)} steps/s` : "";
    const reached = store.records.at(-1)?.[2].stage, stageNow = reached === undefined ? "" : ` · stage ${reached}`;
    told.textContent = `step ${s.step} of ${s.goal}${stageNow}${pace} · seed ${s.seed}${s.note ? ` · ${s.note}` : ""}`;
    error.hidden = !s.error;
    if (s.error && error.dataset.text !== s.error)
      error.replaceChildren(html("b", {}, `Stopped at step ${s.step}. `), s.error, html("details", {}, html("summary", {}, "Where"), html("pre", {}, s.trace)));
    error.dataset.text = s.error ?? "";
    drawCurves(store, s.goal, store.film[store.at]?.step ?? s.step, theme, look);
    if (wasPlaying && !s.playing && store.film.length) spoken.textContent = `Paused. ${summary(store.film.at(-1))}`;
    wasPlaying = s.playing;
  }
  function paint() {
    if (!stage.clientWidth) return; // hidden for the moment; the observer calls again
    theme = isDark() ? look.dark : look.light;
    const colours = { ...theme, accent: look.accent, "on-accent": look.light.paper, control: look.control, warning: look.warning };
    for (const [name, value] of Object.entries(colours)) root.style.setProperty(`--${name}`, value);
    map.resize(theme);
    showFrame(false);
    showState();
  }
  slider.addEventListener("input", () => {
    store.at = Number(slider.value);
    showFrame(true);
    showState();
  });
  pause.disabled = true;
  pause.addEventListener("click", () => (pause.disabled = true));
  const news = new Set(); // shown together, once for each refresh of the screen
  function update() {
    if (theme && news.has("frame")) showFrame(true);
    if (theme) showState(); // otherwise nothing is to be seen yet, and the first paint shows it all
    news.clear();
  }
  const view = (what) => {
    if (what === "clear") {
      reveal.disabled = false;
      scores.hidden = legend.wrong.hidden = true;
    }
    if (!news.size) requestAnimationFrame(update);
    news.add(what);
  };
  store.views.add(view);
  // JupyterLab hides the page for the moment in which it changes its theme: look again when it is there.
  const sizes = new ResizeObserver(paint), themes = new MutationObserver(() => requestAnimationFrame(paint));
  sizes.observe(stage);
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  paint();
  return () => {
    store.views.delete(view);
    sizes.disconnect();
    themes.disconnect();
  };
}
