// Pictures and classes, where each pixel has a label.

import { html, rgb, percent, css } from "./dom.mjs";
import { readImage } from "./tip.mjs";

export function makePictures(section, facts, look, images, announce) {
  const [a, b] = facts.image, [h, w] = facts.label_size, words = facts.words, count = facts.pictures, white = rgb(look.light.paper);
  const shown = Object.fromEntries(["image", "prediction", "active", "true"].map((name) => {
    const canvas = html("canvas", { className: name, width: b, height: a, role: "img" });
    const caption = html("figcaption", {}, words[name]);
    return [name, { canvas, caption, figure: html("figure", {}, canvas, caption) }];
  }));
  const waiting = html("p", { className: "muted waiting" }, words.waiting);
  shown.true.figure.prepend(waiting);
  const place = html("output", { className: "muted" });
  const turn = (by, name) => html("button", { type: "button", className: name, ariaLabel: `${name} picture`, onclick: () => {
    at = (at + by + count) % count;
    if (last) show(...last);
    announce(label());
  } }, name[0].toUpperCase() + name.slice(1));
  section.append(
    html("div", { className: "head" }, html("h4", {}, words.pictures), place, turn(-1, "previous"), turn(1, "next")),
    html("div", { className: facts.truth ? "pictures" : "pictures three" }, ...Object.values(shown).map(({ figure }) => figure)));
  let at = 0, last = null, painted = -1; // painted: the picture whose image is on its canvas
  const label = () => `target image ${at + 1} of ${count}`;

  const dim = (colour) => colour.map((v) => v * look.dimmed);
  function paint(name, colour) {
    const data = new ImageData(b, a);
    for (let y = 0, i = 0; y < a; y++)
      for (let x = 0; x < b; x++, i += 4) {
        const rgb = colour(x, y);
        for (let k = 0; k < 3; k++) data.data[i + k] = rgb[k];
        data.data[i + 3] = 255;
      }
    shown[name].canvas.getContext("2d").putImageData(data, 0, 0);
  }
  function show(frame, truth, theme) {
    last = [frame, truth, theme];
    const palette = facts.classes.map((_, c) => rgb(theme.classes[c % theme.classes.length])), dark = palette.map(dim);
    const { data } = readImage(facts, images, facts.first + at), { pictures } = frame;
    const seen = (x, y) => data.subarray(4 * (y * b + x), 4 * (y * b + x) + 3);
    const predicted = (x, y) => pictures[at * a * b + y * b + x];
    const active = (x, y) => pictures[count * a * b + at * h * w + Math.floor((y * h) / a) * w + Math.floor((x * w) / b)];
    const revealed = Boolean(truth?.length), side = Math.round(b / w); // of a label's square, in pixels
    const right = (x, y, c) => !revealed || [c, facts.ignore].includes(truth[at * a * b + y * b + x]);
    const wrong = side < 3 ? (c) => dark[c] : (c, x, y) => (crossed(x, y) ? white : palette[c]);
    const crossed = (x, y) => x % side === y % side || (x % side) + (y % side) === side - 1;
    if (painted !== at) paint("image", seen);
    painted = at;
    paint("prediction", (x, y) => {
      const c = predicted(x, y);
      return (right(x, y, c) ? palette : dark)[c];
    });
    paint("active", (x, y) => {
      const c = active(x, y);
      if (c === facts.ignore) return dim(seen(x, y));
      return right(x - (x % side), y - (y % side), c) ? palette[c] : wrong(c, x, y);
    });
    if (revealed) paint("true", (x, y) => {
      const c = truth[at * a * b + y * b + x];
      return c === facts.ignore ? dim(seen(x, y)) : palette[c];
    });
    [shown.true.figure.hidden, shown.true.canvas.hidden, waiting.hidden] = [!facts.truth, !revealed, revealed];
    shown.prediction.caption.textContent = words.prediction + (revealed ? words.dark : "");
    shown.active.caption.textContent = words.active + (revealed ? words.crossed : "");
    place.value = `${at + 1} of ${count}`;
    const lit = pictures.slice(count * a * b + at * h * w, count * a * b + (at + 1) * h * w).filter((c) => c !== facts.ignore);
    const told = { active: `, ${percent(lit.length / (h * w))} of them` };
    for (const [name, { canvas }] of Object.entries(shown)) canvas.ariaLabel = `${words[name]}${told[name] ?? ""}, ${label()}`;
    section.dataset.picture = at;
  }
  return show;
}

export function makeClasses(section, facts) {
  const table = html("table", { className: "classes" });
  section.append(html("h4", {}, facts.words.classes), table);
  return (frame, theme) => {
    const shares = { coverage: frame.coverage, ...frame.scores?.classes };
    const columns = facts.columns.filter(({ name }) => shares[name]);
    const head = html("tr", {}, html("th"), ...columns.map(({ label, help }) => html("th", { scope: "col", title: help }, label)));
    const rows = facts.classes.map((name, c) => {
      const swatch = html("i", { style: `background: ${theme.classes[c % theme.classes.length]}` });
      const cells = columns.map((column) => {
        const value = shares[column.name][c];
        const bar = html("div", { className: "gauge" }, html("div", { style: `width: ${css(value ?? 0)}` }));
        return html("td", {}, value === null ? "-" : percent(value), bar);
      });
      return html("tr", {}, html("th", { scope: "row" }, swatch, name), ...cells);
    });
    table.replaceChildren(head, ...rows);
  };
}
