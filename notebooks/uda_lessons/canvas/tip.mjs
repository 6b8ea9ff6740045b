// Hovering, by mouse or arrow keys.

import { html, uint16 } from "./dom.mjs";

const CROP = 32, ZOOM = 4; // picture pixels around a point, and screen pixels for each

export function readImage(facts, images, i) {
  const [height, width, channels] = facts.image, data = new ImageData(width, height), size = width * height;
  for (let p = 0; p < size; p++) {
    for (let k = 0; k < 3; k++) data.data[4 * p + k] = images.getUint8((i * size + p) * channels + (k % channels));
    data.data[4 * p + 3] = 255;
  }
  return data;
}

export function addTip(map, stage, facts, images, announce) {
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
  function tell(lines, x, y, ...pictures) {
    const text = html("div");
    lines.forEach((line) => text.append(html("div", {}, line)));
    tip.hidden = false;
    tip.replaceChildren(...pictures, text);
    const side = stage.clientWidth, { offsetWidth: w, offsetHeight: h } = tip;
    const beside = x > side * 0.55 ? x - w - 14 : x + 14, left = Math.max(4, Math.min(beside, side - w - 4));
    const top = left === beside ? y - 20 : y + h + 18 < side ? y + 14 : y - h - 14; // never on the point itself
    tip.style.left = `${left}px`;
    tip.style.top = `${Math.max(4, Math.min(top, side - h - 4))}px`;
    return lines.join(", ");
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
    return tell(lines, ...map.where(i), ...(width ? [pixels ? crop(i) : picture(i)] : []));
  }
  function point({ offsetX: x, offsetY: y, buttons }) {
    const star = buttons ? null : map.star?.(x, y);
    show(buttons || star ? -1 : map.nearest(x, y));
    if (star) tell([name(star.c), star.domain ? `target: ${facts.words.hollow}` : `source: ${facts.words.filled}`], x, y);
  }
  const follow = (i) => {
    if (!map.frame || !map.follow) return; // the plane has no trails
    map.follow(i);
    if (i >= 0) announce(map.followed === i ? "followed through the film" : "no longer followed");
  };
  map.onrest = () => map.chosen >= 0 && show(map.chosen); // what is said of it may have changed, and where it lies
  map.over.addEventListener("pointermove", (event) => map.frame && point(event));
  map.over.addEventListener("click", () => follow(map.chosen));
  map.over.addEventListener("pointerleave", () => show(-1));
  map.over.addEventListener("blur", () => show(-1));
  map.over.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const does = way || (event.key === "Escape" && Math.max(map.chosen, map.followed ?? -1) >= 0) || (event.key === "Enter" && map.chosen >= 0);
    if (!map.frame || !does) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Enter") follow(map.chosen);
    if (event.key === "Escape") {
      show(-1);
      follow(-1);
    }
    if (!way) return;
    const side = stage.clientWidth, [x, y] = map.chosen < 0 ? [side / 2, side / 2] : map.where(map.chosen);
    const ahead = (dx, dy) => dx * way[0] + dy * way[1] > Math.max(0.5, 0.9 * Math.abs(dx * way[1] + dy * way[0]));
    const next = map.nearest(x, y, 2 * side, map.chosen < 0 ? undefined : ahead);
    if (next >= 0) announce(show(next));
  });
}
