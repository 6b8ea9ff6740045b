// One view of a board: its parts, and what happens when something new is known.

import { html, percent, css, isDark } from "./dom.mjs";
import { makeMap } from "./map.mjs";
import { makePlane } from "./plane.mjs";
import { addTip } from "./tip.mjs";
import { input, makeControls } from "./controls.mjs";
import { makeCurves, stepAxis } from "./curves.mjs";
import { makeGap, makeNumbers, makeCosines, numberText } from "./numbers.mjs";
import { makePictures, makeClasses } from "./pictures.mjs";
import { makeLegend } from "./legend.mjs";

const PRESENTER = 1.6; // how much larger text and marks are in presenter mode

export function render(store, model, el) {
  const facts = model.get("facts"), images = model.get("images"), { words } = facts;
  const look = { ...model.get("look"), zoom: 1 }; // its marks grow in presenter mode
  const dense = facts.pictures > 0, root = html("div", { className: dense ? "uda dense" : "uda" });
  const button = (name, text = name[0].toUpperCase() + name.slice(1), attributes = {}) =>
    html("button", { className: name, type: "button", onclick: () => store.do(name), ...attributes }, text);
  const [play, pause, step, reset] = ["play", "pause", "step", "reset"].map((name) => button(name));
  const reveal = button("reveal", words.reveal, { title: words.revealed, hidden: !facts.truth });
  const presenter = button("presenter", "Presenter", { title: words.presenter, ariaPressed: "false", onclick: () => present(!presenting()) });
  const seed = input({ type: "number", min: 0, max: 2 ** 31 - 1, step: 1, title: words.seed, ariaLabel: "seed", value: facts.seed ?? 0 });
  const fill = html("div"), told = html("p"), spoken = html("p", { className: "unseen", ariaLive: "polite" });
  const error = html("div", { className: "error", role: "alert", hidden: true });
  const scores = html("section", { className: "revealed", hidden: true });
  const stage = html("div", { className: "stage" }), mark = html("div", { className: "mark", hidden: true });
  const slider = input({ type: "range", min: 0, max: 0, value: 0, ariaLabel: "film", disabled: true });
  const where = html("output"), legend = makeLegend(facts, look), notes = html("p", { className: "muted" });
  const [controls, losses, gap, pictures, classes, numbers, cosines] = ["controls", "losses", "gap", "panel", "shares", "numbers", "gradients"]
    .map((className) => html("section", { className }));
  numbers.append(html("h4", {}, "Without target labels"));
  cosines.append(html("h4", {}, "Gradients, class by class"));
  root.append(
    html("style", {}, `.${facts.picture} { display: none !important; }`), // this board is alive: its last picture is not needed
    html("div", { className: "bar", role: "toolbar", ariaLabel: "training" }, play, pause,
      ...(facts.film ? [] : [step, reset, html("div", { className: "pace" }, html("div", { className: "track" }, fill), told),
        html("label", { className: "seed" }, "seed", seed)]), reveal, presenter),
    error, scores,
    html("div", { className: "body" },
      html("div", { className: "map" }, stage, html("div", { className: "film" }, html("span", { className: "muted" }, "Film"), slider, where)),
      ...(facts.film ? [] : [controls]), ...(dense ? [pictures] : []), losses, gap),
    html("div", { className: "below" }, legend.node, legend.swatches, html("p", { className: "muted" }, words.distances), notes),
    html("div", { className: "details" }, ...(dense ? [classes] : []), numbers, cosines),
    spoken);
  stage.append(mark);
  el.append(root);

  const map = (facts.kind === "plane" ? makePlane : makeMap)(facts, look, stage, () => store.film);
  const announce = (text) => (spoken.textContent = text);
  addTip(map, stage, facts, images, announce);
  const drawPictures = dense && makePictures(pictures, facts, look, images, announce), drawClasses = dense && makeClasses(classes, facts);
  const drawCurves = makeCurves(losses, facts), drawGap = makeGap(gap, facts), drawNumbers = makeNumbers(numbers, facts);
  const drawCosines = makeCosines(cosines, facts, look), showSettings = makeControls(controls, facts, store);
  let theme, wasPlaying = false;

  function showFrame(glide) {
    const frame = store.film[store.at];
    root.classList.toggle("before", !frame); // after a Reset the run before is seen until the new one has a frame
    if (!frame) return;
    map.show(frame, store.truth, glide);
    slider.max = store.film.length - 1;
    slider.value = store.at;
    slider.disabled = store.film.length < 2;
    where.value = `step ${frame.step} · frame ${store.at + 1} of ${store.film.length}`;
    root.dataset.frame = store.at;
    drawNumbers(frame.numbers, store.ghost?.numbers);
    drawCosines(frame.cosines);
    notes.textContent = frame.notes.join(" ");
    if (dense) {
      drawPictures(frame, store.truePictures, theme);
      drawClasses(store.truth ? frame : { ...frame, scores: null }, theme);
    }
    map.over.ariaLabel = summary(frame);
  }
  function showCurves() {
    const goal = store.state.goal ?? 1, steps = stepAxis(store, goal), at = store.film[store.at]?.step ?? 0;
    drawCurves(store, steps, at, theme);
    drawGap(store, steps, at, theme);
  }
  function showScores() {
    const frame = store.film[store.at], revealed = Boolean(store.truth && frame?.scores), before = store.ghost?.scores ?? {};
    legend.wrong.hidden = !revealed;
    reveal.disabled = revealed;
    const values = revealed ? { ...frame.scores, baseline: store.baseline } : {};
    const rows = facts.scores.filter(({ name }) => Number.isFinite(values[name] ?? before[name])).map(({ name, label }) =>
      html("span", { className: "score" }, label, html("output", {}, Number.isFinite(values[name]) ? percent(values[name], 1) : ""),
        html("small", {}, Number.isFinite(before[name]) ? percent(before[name], 1) : "")));
    scores.hidden = !rows.length;
    scores.replaceChildren(html("h4", {}, words.revealed), ...rows);
  }
  function summary(frame) {
    const said = facts.numbers.filter(({ name }) => name in frame.numbers)
      .map((number) => `${number.label.toLowerCase()} ${numberText(number, frame.numbers[number.name])}`);
    return `${frame.map} map of ${facts.source} source and ${facts.target} target ${words.points} at step ${frame.step}: ${said.join(", ")}. ${frame.notes.join(" ")}`.trim();
  }
  function showState() {
    const s = store.state, frame = store.film[store.at];
    if (s.step === undefined) { // Python has said nothing yet: the cells below the board may have begun before it could
      told.textContent = store.waiting ? words.waits : "";
      play.disabled = store.waiting;
      return;
    }
    mark.hidden = frame?.map !== "PCA";
    mark.textContent = words.pca[s.umap || "ready"] ?? words.pca.error;
    play.disabled = s.playing;
    pause.disabled = !s.playing;
    fill.style.width = css(s.step / s.goal);
    const waits = store.waiting, reached = store.records.at(-1)?.[2].stage;
    const pace = s.playing && s.rate ? `${s.rate < 10 ? s.rate.toFixed(1) : Math.round(s.rate)} steps/s` : "";
    told.textContent = [`step ${s.step} of ${s.goal}`, reached !== undefined && `stage ${reached}`, waits ? words.waits : pace].filter(Boolean).join(" · ");
    error.hidden = !s.error;
    if (s.error && error.dataset.text !== s.error)
      error.replaceChildren(html("b", {}, `Stopped at step ${s.step}. `), s.error, html("details", {}, html("summary", {}, "Where"), html("pre", {}, s.trace)));
    error.dataset.text = s.error ?? "";
    if (s.settings) showSettings(s.settings);
    if (document.activeElement !== seed && s.seed !== undefined) seed.value = s.seed;
    if (wasPlaying && !s.playing && store.film.length) spoken.textContent = `Paused. ${summary(store.film.at(-1))}`;
    wasPlaying = s.playing;
  }
  function paint() {
    if (!stage.clientWidth) return; // hidden for the moment; the observer calls again
    theme = { ...(isDark() ? look.dark : look.light), zoom: look.zoom };
    root.style.colorScheme = isDark() ? "dark" : "light";
    const colours = { ...theme, accent: look.accent, "on-accent": look.light.paper, control: look.control, warning: look.warning };
    for (const [name, value] of Object.entries(colours)) root.style.setProperty(`--${name}`, value);
    theme.classes.forEach((colour, i) => root.style.setProperty(`--class-${i}`, colour));
    theme.domains.forEach((colour, i) => root.style.setProperty(`--domain-${i}`, colour));
    map.resize(theme);
    showFrame(false);
    showState();
    showScores();
    showCurves();
  }

  const presenting = () => root.classList.contains("presenting");
  // As a popover the board fills the window from wherever it stands in the notebook, whatever its surroundings are styled like.
  function present(on) {
    const zoom = on ? PRESENTER : 1, { radius, line, star } = model.get("look");
    root.classList.toggle("presenting", on);
    root.popover = on ? "manual" : null;
    if (on) root.showPopover();
    else root.scrollIntoView({ block: "nearest" });
    presenter.ariaPressed = String(on);
    root.style.setProperty("--zoom", zoom);
    Object.assign(look, { zoom, radius: zoom * radius, line: zoom * line, star: zoom * star });
    paint();
  }
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.defaultPrevented && presenting()) present(false);
  });
  slider.addEventListener("input", () => {
    store.at = Number(slider.value);
    showFrame(true);
    showState();
    showScores();
    showCurves();
  });
  seed.addEventListener("change", () => seed.value && seed.checkValidity() && store.do("seed", { value: Number(seed.value) }));
  pause.disabled = true;
  pause.addEventListener("click", () => (pause.disabled = true));

  const news = new Set(); // shown together, once for each refresh of the screen
  function update() {
    const frames = ["frame", "clear", "ghost"].some((what) => news.has(what));
    news.clear(); // first: whatever fails below, the next news is shown
    if (theme) { // otherwise nothing is to be seen yet, and the first paint shows it all
      if (frames) showFrame(true);
      showState();
      if (frames) showScores();
      if (frames || !store.state.playing) showCurves(); // while it trains, once for each frame
    }
  }
  const view = (what) => {
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
