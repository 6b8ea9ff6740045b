// Where the names of the stars stand.

const meet = (a, b) => a.left < b.left + b.width && b.left < a.left + a.width && a.top < b.top + b.height && b.top < a.top + a.height;

// The boxes around (x, y), `gap` away, in which a label may stand: right and left of it, above and below.
function boxes({ x, y, width, height }, gap) {
  const [right, left, middle] = [x + gap, x - gap - width, x - width / 2], low = y - 0.25 * height, high = y - 0.75 * height;
  const corners = [[right, high], [left, high], [right, low], [left, low], [middle, y - gap - height], [middle, y + gap]];
  return corners.map(([left, top]) => ({ left, top, width, height }));
}
// For each label {x, y, width, height} a box that meets no other, nothing of `taken` and not the edge, or null if there is none;
// one that meets nothing of `avoided` where there is such a box. `last`: the number of each label's box the time before, which
// it keeps if it can; brought up to date.
export function placeLabels(labels, gap, side, taken, avoided, last) {
  const placed = [...taken];
  return labels.map((label, i) => {
    const all = boxes(label, gap), free = [last[i] ?? 0, ...all.keys()].filter((k) => {
      const { left, top, width, height } = all[k];
      return left >= 0 && top >= 0 && left + width <= side && top + height <= side && !placed.some((box) => meet(box, all[k]));
    });
    const best = free.find((k) => !avoided.some((box) => meet(box, all[k]))) ?? free[0];
    if (best === undefined) return null;
    last[i] = best;
    placed.push(all[best]);
    return all[best];
  });
}
