// What every plot is drawn with.
const WHOLE = Array.from({ length: 48 }, (_, n) => [1, 2, 5][n % 3] * 10 ** Math.floor(n / 3));

function paint(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

// Round values, as on the pictures: powers of ten on a logarithmic axis, parts of them where there are few.
function ticks(low, high, log) {
  if (log) {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    const stride = Math.max(1, Math.ceil((last - first) / 6));
    for (const parts of [[1], [1, 3], [1, 2, 5]]) {
      const found = [];
      for (let n = first; n <= last; n++)
        if (n % (parts.length === 1 ? stride : 1) === 0)
          for (const part of parts) found.push(part * 10 ** n);
      const inside = found.filter(value => value >= low && value <= high);
      if (inside.length >= 3) return inside;
    }
  }
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(each => each >= rough * 0.999999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high * (1 + 1e-9) && found.length < 20; k++) found.push(k * step);
  return found;
}

function text(value) {
  if (value == null) return "–";
  const size = Math.abs(value), short = Number(value.toPrecision(4));
  return size && (size < 1e-3 || size >= 1e6) ? short.toExponential().replace("e+", "e") : String(short);
}

function shape(context, what, x, y, size) {
  context.beginPath();
  if (what === "circle") context.arc(x, y, size, 0, 7);
  if (what === "cross") for (const turn of [1, -1]) {
    context.moveTo(x - size, y - turn * size);
    context.lineTo(x + size, y + turn * size);
  }
  if (what === "triangle" || what === "diamond") {
    context.moveTo(x, y - size);
    context.lineTo(x + size, what === "diamond" ? y : y + size);
    if (what === "diamond") context.lineTo(x, y + size);
    context.lineTo(x - size, what === "diamond" ? y : y + size);
    context.closePath();
  }
}

function clipped(plot, draw) {
  const context = plot.ctx, { left, top, width, height } = plot.bbox;
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  context.lineWidth = 1.5 * devicePixelRatio;
  draw(context, left, top, width, height);
  context.restore();
}

// Colours follow the scheme and plots the width.
function whenRedrawn(draw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) draw();
    width = innerWidth;
  });
}
