// The page of the live board. Python trains one slice for each "tick" that this page sends; see canvas.py for the messages.
// The points are stamped into ImageData: without a GPU that is the one way to move 2,000 of them at 60 frames a second.

const GLIDE = 250; // milliseconds from one frame to the next
const PATIENCE = 10000; // milliseconds after which a tick without an answer counts as lost
const html = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "style") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};
const bytes = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
const uint16 = (view) => new Uint16Array(bytes(view));
const uint8 = (view) => new Uint8Array(bytes(view));
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const percent = (value, digits = 0) => `${(100 * value).toFixed(digits)} %`;
const css = (share) => `${100 * Math.min(1, Math.max(0, share))}%`;
const spaced = (name) => name.replaceAll("_", " ");

function toFrame(message, buffers) {
  const [positions, predictions, pseudo, centroids] = buffers.slice(0, 4).map(uint16);
  return { ...message, positions, predictions, pseudo, centroids, pictures: uint8(buffers[4]) };
}

// -- what the page knows, once for each board, however many views it has ------------------------------------------------

function makeStore(model) {
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

// -- the map ----------------------------------------------------------------------------------------------------------

// Coverage, from 0 to 1, of each pixel of a small square by a shape given as its signed distance.
function stamp(half, distance) {
  const size = 2 * half + 1, alpha = new Float32Array(size * size);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++)
      alpha[y * size + x] = Math.min(1, Math.max(0, 0.5 - distance(x - half, y - half)));
  return { half, size, alpha };
}

function makeStamps(look, scale) {
  const r = look.radius * scale, w = (look.line * scale) / 2, half = Math.ceil(r + w + 1), h = Math.SQRT1_2;
  const arm = (x, y) => Math.max(Math.abs(h * (x - y)) - w * 0.9, Math.abs(h * (x + y)) - r * 1.15);
  return {
    filled: stamp(half, (x, y) => Math.hypot(x, y) - r),
    hollow: stamp(half, (x, y) => Math.abs(Math.hypot(x, y) - r) - w),
    cross: stamp(half, (x, y) => Math.min(arm(x, y), arm(-x, y))),
  };
}

function press({ data, width, height }, { half, size, alpha }, cx, cy, colour, opacity) {
  const left = Math.round(cx) - half, top = Math.round(cy) - half;
  for (let y = Math.max(0, -top); y < size && top + y < height; y++)
    for (let x = Math.max(0, -left); x < size && left + x < width; x++) {
      const a = alpha[y * size + x] * opacity;
      if (a < 0.01) continue;
      const i = 4 * ((top + y) * width + left + x);
      for (let k = 0; k < 3; k++) data[i + k] += a * (colour[k] - data[i + k]);
    }
}

function makeMap(facts, look, stage) {
  const points = html("canvas"), over = html("canvas", { tabIndex: 0, role: "img" });
  stage.prepend(points, over);
  const palette = facts.classes.map((_, c) => rgb(look.classes[c % look.classes.length]));
  const n = facts.source + facts.target, labels = uint16(facts.labels);
  const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => ((a * 7919) % n) - ((b * 7919) % n));
  const map = { over, points, place: new Float32Array(2 * n), frame: null };
  let from = null, started = 0, pending = 0, fresh = false, stamps, image, theme, truth, scale;

  map.resize = (newTheme) => {
    theme = newTheme;
    scale = window.devicePixelRatio || 1;
    const side = Math.max(1, Math.round(stage.clientWidth * scale));
    for (const canvas of [points, over]) canvas.width = canvas.height = side;
    stamps = makeStamps(look, scale);
    image = new ImageData(side, side);
    if (map.frame) draw(1);
  };
  // Where a position, 0 to 65535 with y upwards, lies on the canvas.
  const pixel = (value, axis) => {
    const pad = 9 * scale, side = points.width - 2 * pad;
    return pad + (axis ? 1 - value / 65535 : value / 65535) * side;
  };

  function draw(t) {
    const p = map.place, target = map.frame.positions;
    for (let i = 0; i < 2 * n; i++) p[i] = from && t < 1 ? from[i] + t * (target[i] - from[i]) : target[i];
    const [r, g, b] = rgb(theme.paper), ink = rgb(theme.ink);
    new Uint32Array(image.data.buffer).fill((255 << 24) | (b << 16) | (g << 8) | r);
    for (const i of order) {
      const x = pixel(p[2 * i], 0), y = pixel(p[2 * i + 1], 1);
      if (i < facts.source) press(image, stamps.filled, x, y, palette[labels[i]], 0.72);
      else {
        press(image, stamps.hollow, x, y, palette[map.frame.predictions[i]], 1);
        const true_ = truth?.[i - facts.source] ?? facts.no_label;
        if (true_ !== facts.no_label && map.frame.predictions[i] !== true_) press(image, stamps.cross, x, y, ink, 0.9);
      }
    }
    points.getContext("2d").putImageData(image, 0, 0);
    drawStars();
    if (fresh && map.frame.sent) points.dataset.late = Date.now() - 1000 * map.frame.sent;
    fresh = false;
    if (t >= 1) points.dataset.step = map.frame.step;
  }
  function drawStars() {
    const context = over.getContext("2d"), classes = facts.classes.length, c16 = map.frame.centroids;
    context.clearRect(0, 0, over.width, over.height);
    context.font = `600 ${12 * scale}px system-ui, sans-serif`;
    for (let domain = 1; domain >= 0; domain--)
      for (let c = 0; c < classes; c++) {
        const at = 2 * (domain * classes + c);
        if (c16[at] === facts.no_label) continue;
        const x = pixel(c16[at], 0), y = pixel(c16[at + 1], 1), colour = `rgb(${palette[c]})`;
        star(context, x, y, look.star * scale);
        for (const [width, edge] of [[5, theme.paper], [domain ? 3.2 : 2.4, theme.ink], [domain ? 1.8 : 0, colour]]) {
          context.lineWidth = width * scale;
          context.strokeStyle = edge;
          if (width) context.stroke();
        }
        context.fillStyle = domain ? theme.paper : colour;
        context.fill();
        if (domain) continue;
        context.lineWidth = 3.5 * scale;
        context.strokeStyle = theme.paper;
        context.fillStyle = theme.ink;
        const width = context.measureText(facts.classes[c]).width, right = x + 9 * scale;
        const left = right + width > over.width ? x - 9 * scale - width : right; // of its star, at the map's edge
        context.strokeText(facts.classes[c], left, y - 5 * scale);
        context.fillText(facts.classes[c], left, y - 5 * scale);
      }
    if (map.chosen >= 0) {
      context.beginPath();
      context.arc(...map.where(map.chosen).map((v) => v * scale), 8 * scale, 0, 7);
      context.lineWidth = 2 * scale;
      context.strokeStyle = theme.ink;
      context.stroke();
    }
  }
  function tick(now) {
    const t = Math.min(1, (now - started) / GLIDE);
    draw(t * (2 - t));
    pending = t < 1 ? requestAnimationFrame(tick) : 0;
  }
  map.chosen = -1;
  map.where = (i) => [pixel(map.place[2 * i], 0) / scale, pixel(map.place[2 * i + 1], 1) / scale]; // CSS pixels
  map.choose = (i) => {
    map.chosen = i;
    if (map.frame) drawStars();
  };
  map.nearest = (x, y, within = 14, allowed = () => true) => {
    let best = -1, least = within * within;
    for (let i = 0; i < n; i++) {
      const [px, py] = map.where(i), d = (px - x) ** 2 + (py - y) ** 2;
      if (d < least && allowed(px - x, py - y)) [best, least] = [i, d];
    }
    return best;
  };
  map.show = (frame, newTruth, glide) => {
    // From PCA to UMAP is a cut: a glide would look like alignment. What stands still need not glide.
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches || frame.positions.every((v, i) => v === map.place[i]);
    const moves = glide && map.frame && map.frame.map === frame.map && !calm;
    from = moves ? map.place.slice() : null;
    fresh = frame !== map.frame;
    [map.frame, truth, started] = [frame, newTruth, performance.now()];
    if (!moves) {
      cancelAnimationFrame(pending);
      pending = 0;
      draw(1);
    } else if (!pending) pending = requestAnimationFrame(tick);
  };
  return map;
}

function star(context, x, y, r) {
  context.beginPath();
  for (let i = 0; i < 10; i++) {
    const angle = (i * Math.PI) / 5 - Math.PI / 2, length = i % 2 ? r * 0.45 : r;
    context.lineTo(x + length * Math.cos(angle), y + length * Math.sin(angle));
  }
  context.closePath();
}

// -- hovering, by mouse or arrow keys -----------------------------------------------------------------------------------

const CROP = 32, ZOOM = 3; // picture pixels around a point, and screen pixels for each

function readImage(facts, images, i) {
  const [height, width, channels] = facts.image, data = new ImageData(width, height), size = width * height;
  for (let p = 0; p < size; p++) {
    for (let k = 0; k < 3; k++) data.data[4 * p + k] = images.getUint8((i * size + p) * channels + (k % channels));
    data.data[4 * p + 3] = 255;
  }
  return data;
}

function addTip(map, stage, facts, images, announce) {
  const tip = html("div", { className: "tip", hidden: true }), [height, width] = facts.image;
  const pixels = facts.pixels && uint16(facts.pixels);
  stage.append(tip);
  const name = (c) => (c === facts.no_label ? "none yet" : facts.classes[c]);
  const active = (c) => (c === facts.no_label ? facts.words.inactive : `active: ${facts.classes[c]}`);
  function picture(i) {
    const canvas = html("canvas", { width, height });
    canvas.getContext("2d").putImageData(readImage(facts, images, i), 0, 0);
    return canvas;
  }
  // The surroundings of a pixel, which is framed.
  function crop(i) {
    const [image, row, column] = pixels.slice(3 * i, 3 * i + 3), [h, w] = facts.stride_size;
    const [x, y, dx, dy] = [(column * width) / w, (row * height) / h, width / w, height / h];
    const [left, top] = [x + dx / 2 - CROP / 2, y + dy / 2 - CROP / 2];
    const canvas = html("canvas", { className: "crop", width: CROP * ZOOM, height: CROP * ZOOM }), context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.scale(ZOOM, ZOOM);
    context.translate(-left, -top);
    context.drawImage(picture(image), 0, 0);
    [["black", 1.4], ["white", 0.7]].forEach(([colour, line]) => {
      [context.strokeStyle, context.lineWidth] = [colour, line];
      context.strokeRect(x, y, dx, dy);
    });
    return canvas;
  }
  function show(i) {
    if (i !== map.chosen) map.choose(i);
    tip.hidden = i < 0;
    if (i < 0) return;
    const source = i < facts.source, frame = map.frame, labels = uint16(facts.labels);
    const lines = [source ? "source" : "target (no label)"];
    if (source) lines.push(`label: ${name(labels[i])}`);
    lines.push(`prediction: ${name(frame.predictions[i])}`);
    const pseudo = frame.pseudo[i - facts.source];
    if (!source) lines.push(pixels ? active(pseudo) : `pseudo-label: ${name(pseudo)}`);
    const text = html("div");
    lines.forEach((line) => text.append(html("div", {}, line)));
    tip.replaceChildren(...(width ? [pixels ? crop(i) : picture(i)] : []), text);
    const [x, y] = map.where(i), side = stage.clientWidth, { offsetWidth: w, offsetHeight: h } = tip;
    const beside = x > side * 0.55 ? x - w - 14 : x + 14, left = Math.max(4, Math.min(beside, side - w - 4));
    const top = left === beside ? y - 20 : y + h + 18 < side ? y + 14 : y - h - 14; // never on the point itself
    tip.style.left = `${left}px`;
    tip.style.top = `${Math.max(4, Math.min(top, side - h - 4))}px`;
    return lines.join(", ");
  }
  map.over.addEventListener("pointermove", (event) => {
    if (map.frame) show(map.nearest(event.offsetX, event.offsetY));
  });
  map.over.addEventListener("pointerleave", () => show(-1));
  map.over.addEventListener("blur", () => show(-1));
  map.over.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Escape") show(-1);
    if (!way || !map.frame) return;
    event.preventDefault();
    event.stopPropagation();
    const side = stage.clientWidth, [x, y] = map.chosen < 0 ? [side / 2, side / 2] : map.where(map.chosen);
    const ahead = (dx, dy) => dx * way[0] + dy * way[1] > Math.max(0.5, 0.9 * Math.abs(dx * way[1] + dy * way[0]));
    const next = map.nearest(x, y, 2 * side, map.chosen < 0 ? undefined : ahead);
    if (next >= 0) announce(show(next));
  });
}

// -- curves, numbers, heat map --------------------------------------------------------------------------------------------

function drawCurve(canvas, points, moved, stages, at, [first, span], colour, theme) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, canvas.clientWidth * scale);
  canvas.height = Math.max(1, canvas.clientHeight * scale);
  const context = canvas.getContext("2d"), pad = 3 * scale;
  const values = points.map((p) => p[1]).sort((a, b) => a - b);
  const low = values[0], high = values[Math.floor(0.99 * (values.length - 1))]; // one early spike must not flatten the rest
  const x = (step) => ((step - first) / span) * (canvas.width - pad);
  const y = (v) => canvas.height - pad - ((Math.min(v, high) - low) / (high - low || 1)) * (canvas.height - 2 * pad);
  context.strokeStyle = theme.rule;
  context.lineWidth = scale;
  context.beginPath();
  context.moveTo(0, canvas.height - scale / 2);
  context.lineTo(canvas.width, canvas.height - scale / 2);
  context.stroke();
  context.strokeStyle = theme.muted;
  for (const [steps, dashes] of [[moved.map((move) => move[0]), [1.5 * scale, 2.5 * scale]], [stages, []]]) {
    context.setLineDash(dashes);
    context.beginPath();
    steps.forEach((step) => (context.moveTo(x(step), 0), context.lineTo(x(step), canvas.height)));
    context.stroke();
  }
  context.setLineDash([]);
  context.strokeStyle = colour;
  context.lineWidth = 1.5 * scale;
  context.lineJoin = "round";
  context.beginPath();
  const every = Math.ceil(points.length / 600);
  points.forEach(([step, v], i) => (i % every && i < points.length - 1) || context.lineTo(x(step), y(v)));
  context.stroke();
  if (!at) return;
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x(at[0]), y(at[1]), 3 * scale, 0, 7);
  context.fill();
}

function makeCurves(section, { words, losses }) {
  const rows = new Map(), note = html("p", { className: "muted" });
  section.append(note);
  return ({ records, moved }, goal, at, theme, look) => {
    if (!records.length) {
      rows.forEach((row) => row.node.remove());
      rows.clear();
    }
    section.hidden = !records.length;
    const names = [...new Set(records.slice(-1).concat(records.slice(0, 1)).flatMap((r) => Object.keys(r[1])))];
    for (const name of names)
      if (!rows.has(name)) {
        const row = { canvas: html("canvas", { ariaHidden: "true" }), output: html("output") };
        row.node = html("div", { className: "loss" }, html("span", {}, losses[name] ?? spaced(name)), row.canvas, row.output);
        note.before(row.node);
        rows.set(name, row);
      }
    const stages = records.filter((r, i) => (r[2].stage ?? 0) !== (records[i - 1]?.[2].stage ?? 0)).map((r) => r[0]);
    const first = records.length ? records[0][0] - 1 : 0; // a run may have trained before it came to the board
    let i = 0, span = Math.max(goal - first, 1); // of the axis: halved as long as the curve fits, so that a beginning is seen
    while (span > 20 && span / 2 >= records.length) span /= 2;
    for (const [name, { canvas, output }] of rows) {
      const points = records.filter((r) => name in r[1]).map((r) => [r[0], r[1][name]]);
      const now = points.findLast((p) => p[0] <= at) ?? points[0];
      drawCurve(canvas, points, moved, stages, now, [first, span], look.classes[i++ % look.classes.length], theme);
      output.value = now ? (Math.abs(now[1]) < 0.01 && now[1] ? now[1].toExponential(0) : now[1].toFixed(3)) : "";
    }
    note.textContent = stages.length ? `${words.stage} ` : "";
    if (moved.length) note.textContent += `${words.moved} Last: ${moved.at(-1)[1]}, from step ${moved.at(-1)[0]} on.`;
    note.hidden = !note.textContent;
  };
}

function makeNumbers(section, facts) {
  const rows = facts.numbers.map((number) => {
    const output = html("output"), bar = html("div"), mark = html("i", { hidden: true }), beside = html("small");
    const high = number.high ?? Math.log(facts.classes.length);
    const share = (v) => css((v - number.low) / (high - number.low));
    section.append(html("div", { className: "number", title: number.help },
      html("span", {}, number.label), html("div", {}, beside, output), html("div", { className: "gauge" }, bar, mark)));
    return (numbers) => {
      const value = numbers[number.name], control = numbers[`${number.name}_control`];
      output.value = value === undefined ? "-" : number.percent ? percent(value) : `${value.toFixed(2)} nats`;
      bar.style.width = value === undefined ? 0 : share(value);
      mark.hidden = control === undefined;
      beside.textContent = control === undefined ? "" : percent(control);
      if (control !== undefined) mark.style.left = share(control);
    };
  });
  section.append(html("p", { className: "muted" }, facts.words.control));
  return (numbers) => rows.forEach((row) => row(numbers));
}

function makeCosines(section, facts, look) {
  const mix = (a, b, t) => `rgb(${a.map((v, i) => Math.round(v + t * (b[i] - v)))})`;
  const [opposed, neutral, aligned] = look.cosine.map(rgb);
  const table = html("table", { className: "cosines" });
  section.append(table, html("p", { className: "muted" }, facts.words.cosines));
  return (cosines) => {
    section.hidden = !cosines;
    if (!cosines) return;
    const head = html("tr", {}, html("th"), ...facts.classes.map((name) => html("th", { scope: "col" }, name)));
    const rows = cosines.map((row, i) => {
      const cells = row.map((c) => {
        const background = c === null ? look.cosine[3] : c < 0 ? mix(neutral, opposed, -c) : mix(neutral, aligned, c);
        const text = c === null ? "" : c.toFixed(1).replace("-0.0", "0.0");
        return html("td", { style: `background: ${background}; color: ${Math.abs(c) > 0.6 ? look.light.paper : look.light.ink}` }, text);
      });
      return html("tr", {}, html("th", { scope: "row" }, `head ${i + 1}`), ...cells);
    });
    table.replaceChildren(head, ...rows);
  };
}

// -- pictures and classes, where each pixel has a label -------------------------------------------------------------------

function makePictures(section, facts, look, images, announce) {
  const [a, b] = facts.image, [h, w] = facts.label_size, words = facts.words, count = facts.pictures, white = rgb(look.light.paper);
  const palette = facts.classes.map((_, c) => rgb(look.classes[c % look.classes.length]));
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
  let at = 0, last = null;
  const label = () => `target image ${at + 1} of ${count}`;

  const dim = (colour) => colour.map((v) => v * look.dimmed), dark = palette.map(dim);
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
  function show(frame, truth) {
    last = [frame, truth];
    const { data } = readImage(facts, images, facts.first + at), { pictures } = frame;
    const seen = (x, y) => data.subarray(4 * (y * b + x), 4 * (y * b + x) + 3);
    const predicted = (x, y) => pictures[at * a * b + y * b + x];
    const active = (x, y) => pictures[count * a * b + at * h * w + Math.floor((y * h) / a) * w + Math.floor((x * w) / b)];
    const revealed = Boolean(truth?.length), side = Math.round(b / w); // of a label's square, in pixels
    const right = (x, y, c) => !revealed || [c, facts.ignore].includes(truth[at * a * b + y * b + x]);
    const wrong = side < 3 ? (c) => dark[c] : (c, x, y) => (crossed(x, y) ? white : palette[c]);
    const crossed = (x, y) => x % side === y % side || (x % side) + (y % side) === side - 1;
    paint("image", seen);
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

function makeClasses(section, facts, look) {
  const table = html("table", { className: "classes" });
  section.append(html("h4", {}, facts.words.classes), table);
  return (frame) => {
    const shares = { coverage: frame.coverage, ...frame.scores?.classes };
    const columns = facts.columns.filter(({ name }) => shares[name]);
    const head = html("tr", {}, html("th"), ...columns.map(({ label, help }) => html("th", { scope: "col", title: help }, label)));
    const rows = facts.classes.map((name, c) => {
      const swatch = html("i", { style: `background: ${look.classes[c % look.classes.length]}` });
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

function makeLegend(facts, look) {
  const shape = (inside) => {
    const node = html("span");
    node.innerHTML = `<svg viewBox="-7 -7 14 14" fill="none" stroke="currentColor" stroke-width="1.6" aria-hidden="true">${inside}</svg>`;
    return node.firstChild;
  };
  const path = Array.from({ length: 10 }, (_, i) => {
    const r = i % 2 ? 3 : 7, a = (i * Math.PI) / 5 - Math.PI / 2;
    return `${(r * Math.cos(a)).toFixed(1)},${(r * Math.sin(a)).toFixed(1)}`;
  }).join(" ");
  const [filled, hollow] = [`<polygon points="${path}" fill="currentColor"/>`, `<polygon points="${path}"/>`].map(shape), { words } = facts;
  const wrong = html("span", { hidden: true }, shape('<path d="M-4-4 4 4M-4 4 4-4"/>'), "wrong prediction");
  const swatches = facts.classes.slice(0, 20).map((name, c) =>
    html("span", {}, shape(`<circle r="4.5" fill="${look.classes[c % look.classes.length]}" stroke="none"/>`), name));
  const node = html("div", { className: "legend" },
    html("span", {}, shape('<circle r="4.5" fill="currentColor"/>'), words.source),
    html("span", {}, shape('<circle r="4.5"/>'), words.target),
    ...(words.filled === words.hollow ? [html("span", {}, filled, hollow, words.filled)] : [html("span", {}, filled, words.filled), html("span", {}, hollow, words.hollow)]),
    wrong);
  return { node, swatches: html("div", { className: "legend" }, ...swatches), wrong };
}

// -- one view -------------------------------------------------------------------------------------------------------------

function isDark() {
  const { jpThemeLight } = document.body.dataset;
  if (jpThemeLight) return jpThemeLight === "false";
  const declared = document.documentElement.getAttribute("theme");
  return declared ? declared === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function render(store, model, el) {
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
    mark.textContent = s.umap_error ? facts.words.no_umap : facts.words.pca;
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

export default () => {
  let store;
  return {
    initialize({ model }) {
      store = makeStore(model);
    },
    render({ model, el }) {
      return render(store, model, el);
    },
  };
};
