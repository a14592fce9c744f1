// What is under the pointer on a depth × step map, read back from the colour of its pixel.
const STOPS = paint("ramp").split(",").map(rgb);
const STEPS = 255;

function rgb(hex) {
  return [1, 3, 5].map(at => parseInt(hex.trim().slice(at, at + 2), 16));
}

function colourAt(share) {
  const at = share * (STOPS.length - 1), low = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[low].map((value, channel) => value + (STOPS[low + 1][channel] - value) * (at - low));
}

function distance(a, b) {
  return Math.hypot(...a.map((value, channel) => value - b[channel]));
}

// The share of the scale that a colour stands for.
function shareOf(pixel) {
  let best = 0, least = Infinity;
  for (let n = 0; n <= STEPS; n++) {
    const far = distance(colourAt(n / STEPS), pixel);
    if (far < least) [best, least] = [n / STEPS, far];
  }
  return best;
}

function valueOf(pixel, map) {
  for (const [name, words] of [["nonfinite", "not finite"], ["missing", "not read"]])
    if (distance(rgb(paint(name)), pixel) < 2) return words;
  const share = shareOf(pixel), { low, high, log } = map;
  return "about " + Number((log ? low * (high / low) ** share : low + share * (high - low)).toPrecision(2));
}

function readMap(figure, map) {
  const image = figure.querySelector("img"), told = figure.querySelector(".under");
  const canvas = document.createElement("canvas");
  const show = event => {
    const box = image.getBoundingClientRect();
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const inside = (at, count) => Math.min(count - 1, Math.max(0, Math.floor(at * count)));
    const column = inside((event.clientX - box.x) / box.width, canvas.width);
    const row = inside((event.clientY - box.y) / box.height, canvas.height);
    const pixel = [...context.getImageData(column, row, 1, 1).data].slice(0, 3);
    const wide = (map.span[1] - map.span[0]) / canvas.width, first = Math.round(map.span[0] + column * wide);
    const steps = wide > 1 ? "steps " + first + " to " + (first + wide - 1) : "step " + first;
    told.textContent = map.sites[map.sites.length - 1 - row] + ", " + steps + ": " + valueOf(pixel, map);
  };
  image.addEventListener("pointermove", show);
  image.addEventListener("pointerdown", show);
}
