// Final loss over the learning rate: a panel for each value of an axis, a line for each setting of the others.
const HUES = 6, DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3]], REACH = 18;

class Landscape {
  constructor(place) {
    this.place = place;
    this.data = JSON.parse(place.querySelector(".chart").textContent);
    this.hover = place.querySelector(".hover");
    // One axis beside x is compared best in one panel, several in panels of the first.
    this.by = this.data.axes.length > 1 || this.data.lines.length > HUES ? 0 : -1;
    this.controls();
    this.draw();
  }

  controls() {
    if (!this.data.axes.length) return;
    const label = document.createElement("label"), select = document.createElement("select");
    label.append("one panel for each ", select);
    const names = this.data.axes.map((name, at) => [name, at]);
    for (const [name, at] of [...names, ["setting together", -1]]) select.add(new Option(at < 0 ? "all in one" : name, at));
    select.value = this.by;
    select.addEventListener("change", () => { this.by = Number(select.value); this.draw(); });
    this.place.querySelector(".controls").append(label);
  }

  // Lines by panel; those that agree in all other axes have the same colour and dashes in every panel.
  groups() {
    const found = new Map(), styles = new Map();
    for (const line of this.data.lines) {
      const key = this.by < 0 ? "" : line.names[this.by];
      const rest = line.names.filter((_, at) => at !== this.by);
      const style = rest.join(" · ");
      if (!styles.has(style)) styles.set(style, styles.size);
      if (!found.has(key)) found.set(key, []);
      found.get(key).push({ ...line, style: styles.get(style), short: style });
    }
    return found;
  }

  draw() {
    for (const plot of this.plots ?? []) plot.destroy();
    this.plots = [];
    const panels = this.place.querySelector(".panels"), groups = [...this.groups()];
    panels.replaceChildren();
    panels.dataset.count = Math.min(groups.length, 3);
    for (const [name, lines] of groups) {
      const box = document.createElement("div"), head = document.createElement("p"), plot = document.createElement("div");
            head.className = "head";
      head.append(...(name ? [Object.assign(document.createElement("b"), { textContent: name })] : []), ...lines.filter(line => line.short).map(line => this.legend(line)));
      plot.setAttribute("role", "img");
      plot.setAttribute("aria-label", ["final loss over " + this.data.x, name].join(" ") + "; the table below tells it in numbers");
      box.append(head, plot);
      panels.append(box);
      this.plots.push(this.panel(plot, lines));
    }
  }

  legend(line) {
    const span = document.createElement("span");
    const dash = DASHES[line.style % DASHES.length].join(" ");
    span.innerHTML = '<svg width="30" height="10" aria-hidden="true"><line x1="1" x2="29" y1="5" y2="5" stroke-width="2.5"/></svg>';
    const stroke = span.querySelector("line");
    stroke.style.stroke = "var(--hue-" + (line.style % HUES) + ")";
    stroke.setAttribute("stroke-dasharray", dash);
    span.append(line.short);
    return span;
  }

  panel(place, lines) {
    const { at, labels, log, low, high, unigram } = this.data, ink = paint("faint");
    const grid = { stroke: paint("rule"), width: 1 }, tick = { ...grid, size: 4 };
    const room = !this.data.ordered ? 0.5 : log ? (at[at.length - 1] / at[0]) ** 0.04 : (at[at.length - 1] - at[0]) * 0.04 || 0.5;
    const range = log ? [at[0] / room, at[at.length - 1] * room] : [at[0] - room, at[at.length - 1] + room];
    const named = log ? ticks(range[0], range[1], true) : at;
    const word = value => log ? text(value) : labels[at.indexOf(value)] ?? text(value);
    const clip = value => value == null ? null : Math.min(high, Math.max(low, value));
    const own = { space: 1, incrs: (plot, axis, min, max) => [Math.max(5, max - min)], filter: (plot, values) => values };
    const options = {
      width: place.clientWidth, height: 260, padding: [10, 12, 0, 0], legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      axes: [
        { stroke: ink, grid: { show: false }, ticks: tick, size: 28, label: this.data.x, labelSize: 16, labelGap: 0, splits: () => named, values: (plot, values) => values.map(word), ...own },
        { stroke: ink, grid, ticks: tick, size: 44, gap: 3, splits: () => ticks(low, high, false), values: (plot, values) => values.map(text), ...own },
      ],
      scales: { x: { time: false, distr: log ? 3 : 1, range: () => range }, y: { range: () => [low, high] } },
      series: [{}, ...lines.map(line => ({
        stroke: paint("hue-" + (line.style % HUES)), width: this.data.ordered ? 2 : 0, dash: DASHES[line.style % DASHES.length], points: { show: false }, spanGaps: true,
      }))],
      hooks: {
        drawAxes: [plot => this.reference(plot, unigram)],
        draw: [plot => this.dots(plot, lines, clip)],
        setCursor: [plot => this.point(plot, lines)],
        ready: [plot => plot.over.addEventListener("click", () => this.choose(plot, lines, clip))],
      },
    };
    return new uPlot(options, [at, ...lines.map(line => line.means.map(clip))], place);
  }

  reference(plot, unigram) {
    if (unigram == null) return;
    clipped(plot, (context, left, top, width) => {
      const y = Math.round(plot.valToPos(unigram, "y", true));
      context.strokeStyle = paint("faint");
      context.lineWidth = devicePixelRatio;
      context.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
      context.beginPath();
      context.moveTo(left, y);
      context.lineTo(left + width, y);
      context.stroke();
    });
  }

  where(plot, seed, clip, onCanvas) {
    const [at, , loss] = seed;
    const y = loss == null ? this.data.high : clip(loss);
    return [plot.valToPos(this.data.at[at], "x", onCanvas), plot.valToPos(y, "y", onCanvas)];
  }

  dots(plot, lines, clip) {
    const unit = devicePixelRatio;
    const context = plot.ctx;
    context.save();
    context.setLineDash([]);
    if (!this.data.ordered) this.means(plot, lines, clip);
    context.lineWidth = 1.5 * unit;
    for (const failed of [false, true]) for (const line of lines) for (const seed of line.seeds) {
      if (seed[4] !== failed) continue;
      const [x, y] = this.where(plot, seed, clip, true);
      context.strokeStyle = failed ? paint("critical") : paint("hue-" + (line.style % HUES));
      context.fillStyle = paint("paper");
      shape(context, failed ? "cross" : "circle", x, y, (failed ? 4 : 3) * unit);
      if (!failed) context.fill();
      context.stroke();
    }
    context.restore();
  }

  // Between labels there is nothing to draw a line through.
  means(plot, lines, clip) {
    const context = plot.ctx, half = 14 * devicePixelRatio;
    context.lineWidth = 2.5 * devicePixelRatio;
    for (const line of lines) line.means.forEach((mean, at) => {
      if (mean == null) return;
      const x = plot.valToPos(this.data.at[at], "x", true), y = plot.valToPos(clip(mean), "y", true);
      context.strokeStyle = paint("hue-" + (line.style % HUES));
      context.beginPath();
      context.moveTo(x - half, y);
      context.lineTo(x + half, y);
      context.stroke();
    });
  }

  point(plot, lines) {
    const at = plot.cursor.idx;
    if (at == null || plot.cursor.left < 0) return;
    const told = lines.map(line => (line.short || line.title) + ": mean " + text(line.means[at]) + ", " + line.told[at]);
    this.hover.textContent = this.data.x + " " + this.data.labels[at] + " — " + told.join(" — ");
  }

  choose(plot, lines, clip) {
    const near = lines.flatMap(line => line.seeds).map(seed => {
      const [x, y] = this.where(plot, seed, clip, false);
      return [Math.hypot(x - plot.cursor.left, y - plot.cursor.top), seed[5]];
    }).sort((a, b) => a[0] - b[0])[0];
    if (near && near[0] < REACH) goTo("run-" + near[1]);
  }
}
