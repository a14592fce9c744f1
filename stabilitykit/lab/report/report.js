// Two losses in one plot, the list of runs, and the way from a picture to a run.
class Overlay {
  constructor(place) {
    this.place = place;
    this.data = JSON.parse(place.parentElement.querySelector(".chart").textContent);
    this.hover = place.parentElement.querySelector(".hover");
    this.draw();
  }

  draw() {
    this.plot?.destroy();
    const ink = paint("faint"), grid = { stroke: paint("rule"), width: 1 }, tick = { ...grid, size: 4 };
    const { curves, names, at, apart } = this.data, log = curves.every(curve => curve.log);
    const low = Math.min(...curves.map(curve => curve.low)), high = Math.max(...curves.map(curve => curve.high));
    const laps = curves.map(curve => curve.laps.length ? curve.laps[curve.laps.length - 1] : [[], []]);
    const own = { space: 1, incrs: (plot, axis, min, max) => [Math.max(5, max - min)], filter: (plot, values) => values };
    const options = {
      width: this.place.clientWidth, height: 280, padding: [14, 28, 0, 0], legend: { show: false },
      cursor: { y: false, drag: { x: true, y: false } },
      axes: [
        { stroke: ink, grid: { show: false }, ticks: grid, size: 34, space: 70, incrs: WHOLE },
        { stroke: ink, grid, ticks: tick, size: 60, labelSize: 16, label: "loss", labelGap: 0, splits: () => ticks(low, high, log), values: (plot, values) => values.map(text), ...own },
      ],
      scales: { x: { time: false }, y: { distr: log ? 3 : 1, range: () => [low, high] } },
      series: [{}, ...names.map((name, n) => ({ stroke: paint(n ? "hue-1" : "hue-0"), width: 1.5, dash: n ? [6, 3] : [], points: { show: false }, spanGaps: true }))],
      hooks: {
        draw: [plot => {
          const same = at === apart;
          this.line(plot, apart, same ? "they part" : "apart", 1);
          if (!same) this.line(plot, at, "first difference", 0);
        }],
        setCursor: [plot => this.point(plot, laps)],
      },
    };
    this.plot = new uPlot(options, uPlot.join(laps), this.place);
  }

  line(plot, step, word, row) {
    if (step == null) return;
    const context = plot.ctx, unit = devicePixelRatio, { left, top, width, height } = plot.bbox;
    const x = plot.valToPos(step, "x", true);
    if (x < left || x > left + width) return;
    context.save();
    context.strokeStyle = context.fillStyle = paint("ink");
    context.lineWidth = unit;
    context.setLineDash(row ? [] : [4 * unit, 3 * unit]);
    context.beginPath();
    context.moveTo(x, top);
    context.lineTo(x, top + height);
    context.stroke();
    context.font = 12 * unit + "px system-ui, sans-serif";
    const right = x > left + width * 0.7;
    context.textAlign = right ? "right" : "left";
    context.fillText(word + ", step " + step, x + (right ? -5 : 5) * unit, top + (12 + 15 * row) * unit);
    context.restore();
  }

  point(plot, laps) {
    if (plot.cursor.left == null || plot.cursor.left < 0 || plot.cursor.idx == null) return;
    const step = plot.data[0][plot.cursor.idx];
    const told = laps.map(([steps, values], n) => {
      const at = steps.findLastIndex(each => each <= step);
      return (n ? "B " : "A ") + (at < 0 ? "–" : values[at] === null ? "not finite" : text(values[at]));
    });
    this.hover.textContent = "step " + step + ": loss " + told.join(", ");
  }
}

const filter = document.getElementById("failed-only");
filter?.addEventListener("change", () => document.querySelector(".runs").classList.toggle("only", filter.checked));

function reveal(target) {
  if (filter?.checked && !target.classList.contains("failed")) filter.click();
  if (target.tagName === "DETAILS") target.open = true;
  target.scrollIntoView({ block: "start" });
}

function goTo(id) {
  const target = document.getElementById(id);
  if (!target) return;
  history.pushState(null, "", "#" + id);
  reveal(target);
  target.querySelector("summary")?.focus({ preventScroll: true });
}

document.addEventListener("click", event => {
  const link = event.target.closest("a[href^='#run-']");
  if (!link) return;
  event.preventDefault();
  goTo(decodeURIComponent(link.hash.slice(1)));
});
addEventListener("hashchange", () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) reveal(target);
});

const charts = [
  ...[...document.querySelectorAll(".landscape")].map(place => new Landscape(place)),
  ...[...document.querySelectorAll(".overlay")].map(place => new Overlay(place)),
];
whenRedrawn(() => charts.forEach(chart => chart.draw()));
const wanted = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
if (wanted) reveal(wanted);
