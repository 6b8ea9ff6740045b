// What every module of the page uses: elements, bytes, colours, numbers in words.

export const html = (tag, attributes = {}, ...children) => {
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
export const uint16 = (view) => new Uint16Array(bytes(view));
export const uint8 = (view) => new Uint8Array(bytes(view));
export const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
export const percent = (value, digits = 0) => `${(100 * value).toFixed(digits)} %`;
export const css = (share) => `${100 * Math.min(1, Math.max(0, share))}%`;
export const spaced = (name) => name.replaceAll("_", " ");

export function isDark() {
  const { jpThemeLight } = document.body.dataset;
  if (jpThemeLight) return jpThemeLight === "false";
  const declared = document.documentElement.getAttribute("theme");
  return declared ? declared === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
