// Numbers that need no target labels, and the gradient cosines.

import { html, rgb, percent, css } from "./dom.mjs";

export function makeNumbers(section, facts) {
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

export function makeCosines(section, facts, look) {
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
