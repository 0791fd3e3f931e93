/** Maps over pictures: orange adds, blue takes away, and how much is how opaque. */

const ADDS = [222, 92, 0];
const TAKES = [36, 99, 200];
const MOST_OPAQUE = 0.85;
const DETAIL = 256;

/** The largest value of some maps, whatever its sign. */
export const largestOf = (...maps) => Math.max(...maps.flat(2).map(Math.abs), 1e-12);

/**
 * Draws a map, rows of numbers, over a picture.
 *
 * @param canvas lies over the picture.
 * @param map what each place of the picture, or of the part of it, has.
 * @param largest the value that is most opaque.
 * @param part of the picture that the map is of, as shares; all of it where left out.
 */
export function paint(canvas, map, largest, part = [0, 0, 1, 1]) {
  const [rows, columns] = [map.length, map[0].length];
  const cells = new ImageData(columns, rows);
  map.flat().forEach((value, at) => {
    const color = value >= 0 ? ADDS : TAKES;
    cells.data.set([...color, 255 * MOST_OPAQUE * Math.min(1, Math.abs(value) / largest)], at * 4);
  });
  const small = new OffscreenCanvas(columns, rows);
  small.getContext("2d").putImageData(cells, 0, 0);
  [canvas.width, canvas.height] = [DETAIL, DETAIL];
  const drawing = canvas.getContext("2d");
  drawing.imageSmoothingQuality = "high";
  const [left, top, width, height] = part.map((share) => share * DETAIL);
  drawing.drawImage(small, left, top, width, height);
}

export function wipe(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

const ZONES = [
  ["top left", "top", "top right"],
  ["left", "middle", "right"],
  ["bottom left", "bottom", "bottom right"],
];

/** Where most of a map is, in words: {zone, share}; null where nothing adds. */
export function most(map) {
  const sums = new Map();
  let all = 0;
  map.forEach((row, y) =>
    row.forEach((value, x) => {
      const third = (place, of) => Math.floor(((place + 0.5) * 3) / of);
      const zone = ZONES[third(y, map.length)][third(x, row.length)];
      sums.set(zone, (sums.get(zone) ?? 0) + Math.max(value, 0));
      all += Math.max(value, 0);
    }),
  );
  const [zone, sum] = [...sums].reduce((one, other) => (other[1] > one[1] ? other : one));
  return all > 0 ? { zone, share: sum / all } : null;
}
