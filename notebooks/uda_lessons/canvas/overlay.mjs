// What lies over the points: stars and their names, lines between them, the chosen point, the trail of the followed one.

import { classColour } from "./stamps.mjs";
import { placeLabels } from "./labels.mjs";

const FONT = 12 / 13; // of a name, beside the text of the page

export function makeOverlay(map, facts, look, stage, film) {
  const context = map.over.getContext("2d"), count = facts.classes.length, last = [];
  let stars = []; // {c, domain, x, y, colour}: what is painted, in pixels of the canvas

  function place() {
    const { centroids } = map.frame, { theme } = map;
    stars = [];
    for (const domain of [1, 0]) // filled stars lie over hollow ones
      for (let c = 0; c < count; c++) {
        const at = 2 * (domain * count + c), [x, y] = [map.pixel(centroids[at], 0), map.pixel(centroids[at + 1], 1)];
        if (centroids[at] === facts.no_label) continue;
        stars.push({ c, domain, x, y, colour: map.domains ? theme.domains[domain] : classColour(theme, c) });
      }
  }
  // A stroke in each of these [width, colour], the widest first.
  function stroke(...lines) {
    for (const [width, colour] of lines) {
      [context.lineWidth, context.strokeStyle] = [width * map.scale, colour];
      context.stroke();
    }
  }
  function drawLines() {
    const filled = new Map(stars.filter((star) => !star.domain).map((star) => [star.c, star]));
    for (const star of stars.filter(({ c, domain }) => domain && filled.has(c))) {
      context.beginPath();
      context.moveTo(star.x, star.y);
      context.lineTo(filled.get(star.c).x, filled.get(star.c).y);
      stroke([4, map.theme.paper], [1.6, map.theme.ink]);
    }
  }
  function drawStar({ domain, x, y, colour }) {
    const { paper, ink } = map.theme;
    outline(context, x, y, look.star * map.scale);
    stroke([5, paper], ...(domain ? [[3.2, ink], [1.8, colour]] : [[2.4, ink]]));
    context.fillStyle = domain ? paper : colour;
    context.fill();
  }
  function drawNames() {
    const { scale, theme } = map, size = parseFloat(getComputedStyle(stage).fontSize) * FONT * scale, r = look.star * scale;
    const side = map.over.width, box = (x, y, r) => ({ left: x - r, top: y - r, width: 2 * r, height: 2 * r });
    context.font = `600 ${size}px system-ui, sans-serif`;
    const named = stars.filter(({ x, y, domain }) => !domain && Math.min(x, y) > 0 && Math.max(x, y) < side);
    const labels = named.map(({ c, x, y }) => ({ x, y, width: context.measureText(facts.classes[c]).width, height: size }));
    const tools = [...stage.children].filter((node) => node.matches(".tools, .mark") && !node.hidden);
    const taken = tools.map((node) => ({
      left: node.offsetLeft * scale, top: node.offsetTop * scale, width: node.offsetWidth * scale, height: node.offsetHeight * scale,
    }));
    const kept = named.map(({ c }) => last[c]), boxes = placeLabels(labels, 1.1 * r, side, taken, stars.map(({ x, y }) => box(x, y, 0.6 * r)), kept);
    named.forEach(({ c }, i) => {
      last[c] = kept[i];
      if (!boxes[i]) return;
      [context.lineWidth, context.strokeStyle, context.fillStyle] = [3.5 * scale, theme.paper, theme.ink];
      const at = [facts.classes[c], boxes[i].left, boxes[i].top + 0.85 * size];
      context.strokeText(...at);
      context.fillText(...at);
    });
  }
  function drawTrail() {
    const { frame, followed, theme, scale } = map, frames = film(), at = (positions) => [0, 1].map((k) => map.pixel(positions[2 * followed + k], k));
    context.beginPath();
    context.moveTo(...map.where(followed).map((v) => v * scale));
    for (let k = frames.indexOf(frame) - 1; frames[k]?.map === frame.map; k--) context.lineTo(...at(frames[k].positions));
    stroke([4, theme.paper], [1.8, theme.ink]);
  }
  function drawRing(i, width) {
    const [x, y] = map.where(i).map((v) => v * map.scale);
    context.beginPath();
    context.arc(x, y, 2.6 * look.radius * map.scale, 0, 7);
    stroke([width + 2.5, map.theme.paper], [width, map.theme.ink]);
  }
  map.star = (x, y) => stars.findLast((star) => Math.hypot(star.x - x * map.scale, star.y - y * map.scale) < 0.7 * look.star * map.scale);
  return () => {
    place();
    context.clearRect(0, 0, map.over.width, map.over.height);
    context.lineJoin = "round";
    if (map.lines) drawLines();
    if (map.followed >= 0) drawTrail();
    stars.forEach(drawStar);
    drawNames();
    if (map.followed >= 0) drawRing(map.followed, 3);
    if (map.chosen >= 0) drawRing(map.chosen, 1.6);
  };
}

function outline(context, x, y, r) {
  context.beginPath();
  for (let i = 0; i < 10; i++) {
    const angle = (i * Math.PI) / 5 - Math.PI / 2, length = i % 2 ? r * 0.45 : r;
    context.lineTo(x + length * Math.cos(angle), y + length * Math.sin(angle));
  }
  context.closePath();
}
