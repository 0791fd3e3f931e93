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

/** How much of one of `of` places lies in a third, as a share of the place. */
const overlap = (place, of, third) =>
  Math.max(0, Math.min((place + 1) / of, (third + 1) / 3) - Math.max(place / of, third / 3)) * of;

/** Where most of what a map adds is, in words: {zone, share}; null where nothing adds. */
export function most(map) {
  const added = map.map((row) => row.map((value) => Math.max(value, 0)));
  const all = added.flat().reduce((sum, value) => sum + value, 0);
  const shares = ZONES.flatMap((names, down) =>
    names.map((zone, across) => {
      const inside = added.flatMap((row, y) =>
        row.map((value, x) => value * overlap(y, added.length, down) * overlap(x, row.length, across)),
      );
      return { zone, share: inside.reduce((sum, value) => sum + value, 0) / all };
    }),
  );
  return all > 0 ? shares.reduce((one, other) => (other.share > one.share ? other : one)) : null;
}
