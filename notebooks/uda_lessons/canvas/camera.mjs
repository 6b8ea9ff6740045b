// Which part of the map is seen. Places run from 0 to 1, x to the right and y downwards; (x, y) of a camera is its middle.

const MOST = 20;

export const whole = { x: 0.5, y: 0.5, zoom: 1 };

const within = (middle, zoom) => Math.min(1 - 0.5 / zoom, Math.max(0.5 / zoom, middle));
const aimed = (x, y, zoom) => ({ x: within(x, zoom), y: within(y, zoom), zoom });

// Where on the canvas, whose sides run from 0 to 1, a coordinate is seen; and which coordinate is seen there.
export const seenAt = (camera, axis, coordinate) => (coordinate - camera[axis]) * camera.zoom + 0.5;
export const placeAt = (camera, axis, at) => (at - 0.5) / camera.zoom + camera[axis];

// The camera after a zoom by `factor` under which what is seen at (x, y) stays there.
export function zoomed(camera, factor, x = 0.5, y = 0.5) {
  const zoom = Math.min(MOST, Math.max(1, camera.zoom * factor));
  return aimed(placeAt(camera, "x", x) - (x - 0.5) / zoom, placeAt(camera, "y", y) - (y - 0.5) / zoom, zoom);
}
// The camera after the map was dragged by (dx, dy) sides of the canvas, and turned to a place.
export const dragged = (camera, dx, dy) => aimed(camera.x - dx / camera.zoom, camera.y - dy / camera.zoom, camera.zoom);
export const turned = (camera, x, y) => aimed(x, y, camera.zoom);
