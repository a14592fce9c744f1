// One plot for each curve and one for the lanes of incidents; all of a run share their axis of steps.
const AXIS = 64, LANE = 34, CURVE = [260, 150], SHADE = 0.22;

function span(incident) {
  if (incident.end == null) return "from step " + incident.start + ", open";
  return incident.start === incident.end ? "step " + incident.start : "steps " + incident.start + " to " + incident.end;
}

// The part of the panel that an incident covers, at least a pixel wide, in pixels of the canvas.
function stretch(plot, incident) {
  const { left, width } = plot.bbox, right = left + width;
  const at = step => Math.min(right, Math.max(left, plot.valToPos(step, "x", true)));
  const from = at(incident.start), to = incident.end == null ? right : at(incident.end);
  const seen = incident.end == null || incident.end >= plot.scales.x.min;
  return seen && incident.start <= plot.scales.x.max ? [from, Math.max(to - from, devicePixelRatio)] : null;
}

function shade(plot, incidents) {
  clipped(plot, (context, left, top, width, height) => {
    context.globalAlpha = SHADE;
    for (const incident of incidents) {
      const where = stretch(plot, incident);
      if (!where) continue;
      context.fillStyle = paint(incident.severity);
      context.fillRect(where[0], top, where[1], height);
    }
  });
}

function marks(plot, panel) {
  clipped(plot, (context, left, top) => {
    const unit = devicePixelRatio, x = step => plot.valToPos(step, "x", true);
    context.strokeStyle = paint("ink");
    for (const [step, value] of panel.peaks) {
      shape(context, "circle", x(step), plot.valToPos(value, "y", true), 5 * unit);
      context.stroke();
    }
    for (const [steps, values] of panel.laps) for (let i = 0; i < steps.length; i++) {
      if (values[i] === null) {
        context.strokeStyle = paint("critical");
        shape(context, "cross", x(steps[i]), top + 7 * unit, 3 * unit);
        context.stroke();
      } else if (values[i] > plot.scales.y.max) {
        context.fillStyle = paint("line");
        shape(context, "triangle", x(steps[i]), top + 5 * unit, 4 * unit);
        context.fill();
      }
    }
  });
}

function lanes(plot, data) {
  const context = plot.ctx, unit = devicePixelRatio, { left, top } = plot.bbox;
  const row = lane => top + (lane * LANE + 24) * unit;
  context.save();
  context.font = 11 * unit + "px system-ui, sans-serif";
  context.textAlign = "left";
  context.textBaseline = "alphabetic";
  context.fillStyle = paint("faint");
  data.lanes.forEach((label, lane) => context.fillText(label, left, row(lane) - 9 * unit));
  context.restore();
  clipped(plot, context => {
    for (const incident of data.incidents) {
      const where = stretch(plot, incident), y = row(incident.lane);
      if (!where) continue;
      context.fillStyle = context.strokeStyle = paint(incident.severity);
      context.globalAlpha = 0.45;
      context.fillRect(where[0], y - 4 * unit, where[1], 8 * unit);
      context.globalAlpha = 1;
      const critical = incident.severity === "critical";
      shape(context, critical ? "diamond" : "triangle", plot.valToPos(incident.detected, "x", true), y, 4.5 * unit);
      if (!critical) context.fillStyle = paint("paper");
      context.fill();
      context.stroke();
    }
  });
}

class Run {
  constructor(section) {
    this.section = section;
    this.data = JSON.parse(section.querySelector(".data").textContent);
    const room = Math.max((this.data.span[1] - this.data.span[0]) * 0.01, 0.5);
    this.whole = { min: this.data.span[0] - room, max: this.data.span[1] + room };
    this.hover = section.querySelector(".hover");
    this.reset = section.querySelector(".whole");
    this.reset.addEventListener("click", () => this.zoom(this.whole));
    section.querySelectorAll(".map").forEach((figure, at) => readMap(figure, this.data.maps[at]));
    for (const button of section.querySelectorAll(".zoom"))
      button.addEventListener("click", () => this.showIncident(Number(button.dataset.incident)));
    this.draw();
  }

  // What is folded away has no width; it is drawn once it is seen again.
  draw() {
    this.stale = !this.section.clientWidth;
    if (this.stale) return;
    for (const plot of this.plots ?? []) plot.destroy();
    this.plots = [];
    const places = this.section.querySelectorAll(".plot");
    this.data.panels.forEach((panel, index) => this.plots.push(this.curve(places[index], panel, index)));
    if (this.data.lanes.length) this.plots.push(this.laneStrip(places[places.length - 1]));
    else places[places.length - 1].hidden = true;
  }

  options(place, height, axes, scale, hooks) {
    const ink = paint("faint"), grid = { stroke: paint("rule"), width: 1 }, tick = { ...grid, size: 4 };
    const bottom = { stroke: ink, grid: { show: false }, ticks: grid, size: 34, space: 70, incrs: WHOLE };
    return {
      width: place.clientWidth, height, padding: [10, 28, 0, 0], legend: { show: false },
      cursor: { y: false, drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => () => this.zoom(this.whole) } },
      axes: [bottom, { stroke: ink, grid, ticks: tick, gap: 3, size: AXIS, ...axes }],
      scales: { x: { time: false, min: this.whole.min, max: this.whole.max }, y: scale },
      hooks: {
        setCursor: [plot => this.point(plot)],
        setSelect: [plot => this.select(plot)],
        ...hooks,
      },
    };
  }

  curve(place, panel, index) {
    const { log, low, high } = panel, own = panel.incidents.map(id => this.data.incidents.find(each => each.id === id));
    const clip = value => Math.min(high, Math.max(low, value));
    const range = (plot, min, max) => {
      if (min == null) return [low, high];
      [min, max] = [clip(min), clip(max)];
      const room = log ? (max / min) ** 0.05 : (max - min) * 0.05;
      if (log) return max > min ? [min / room, max * room] : [min / 2, max * 2];
      return max > min ? [min - room, max + room] : [low, high];
    };
    const axes = {
      label: panel.name, labelSize: 16, labelGap: 0, size: AXIS - 16,
      // The ticks are ours; uPlot only wants to hear of an increment that it can place.
      space: 1, incrs: (plot, axis, min, max) => [Math.max(5, max - min)],
      splits: (plot, axis, min, max) => panel.empty ? [] : ticks(min, max, log), values: (plot, values) => values.map(text), filter: (plot, values) => values,
    };
    const tables = panel.laps.map(lap => lap.length ? lap : [[], []]);
    const data = tables.length > 1 ? uPlot.join(tables) : tables[0] ?? [[], []];
    const hooks = { drawAxes: [plot => shade(plot, own)], draw: [plot => marks(plot, panel)] };
    const options = this.options(place, CURVE[index] ?? 150, axes, { distr: log ? 3 : 1, range }, hooks);
    options.series = [{}, ...tables.map((_, lap) => ({
      label: panel.name, stroke: paint(lap === tables.length - 1 ? "line" : "faint"), width: 1.25,
      points: { show: data[0].length < 40 },
    }))];
    return new uPlot(options, data, place);
  }

  laneStrip(place) {
    const axes = { show: true, values: () => [], splits: () => [], ticks: { show: false }, grid: { show: false } };
    const scale = { range: () => [0, 1] }, hooks = { draw: [plot => lanes(plot, this.data)] };
    const options = this.options(place, this.data.lanes.length * LANE + 44, axes, scale, hooks);
    options.series = [{}, { show: true, stroke: "transparent", points: { show: false } }];
    const steps = [...new Set(this.data.panels.flatMap(panel => panel.laps.flatMap(lap => lap[0])))].sort((a, b) => a - b);
    return new uPlot(options, [steps, steps.map(() => 0)], place);
  }

  zoom(to) {
    for (const plot of this.plots) {
      plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      plot.setScale("x", to);
    }
    this.reset.hidden = to === this.whole;
  }

  select(plot) {
    const { left, width } = plot.select;
    if (width > 3) this.zoom({ min: plot.posToVal(left, "x"), max: plot.posToVal(left + width, "x") });
  }

  showIncident(id) {
    const incident = this.data.incidents.find(each => each.id === id);
    const end = Math.min(incident.end ?? this.data.span[1], this.whole.max);
    const room = Math.max((end - incident.start) * 0.5, (this.whole.max - this.whole.min) * 0.02, 5);
    this.zoom({ min: Math.max(this.whole.min, incident.start - room), max: Math.min(this.whole.max, end + room) });
    this.section.scrollIntoView({ block: "start" });
    this.hover.textContent = incident.kind + ", " + span(incident) + ": " + incident.message;
  }

  point(plot) {
    if (plot.cursor.left == null || plot.cursor.left < 0 || plot.cursor.idx == null) return;
    const step = plot.posToVal(plot.cursor.left, "x"), reach = plot.posToVal(4, "x") - plot.posToVal(0, "x");
    const told = this.data.incidents.filter(each => each.start - reach <= step && (each.end == null || step <= each.end + reach));
    const values = this.data.panels.map((panel, index) => {
      const other = this.plots[index], at = other.valToIdx(step);
      const value = other.data.slice(1).map(series => series[at]).reverse().find(each => each !== undefined);
      return panel.name + " " + (value === null ? "not finite" : text(value)) + (index ? "" : " at step " + other.data[0][at]);
    });
    const lines = told.slice(0, 3).map(each => each.kind + ", " + span(each) + ": " + each.message);
    if (told.length > 3) lines.push("and " + (told.length - 3) + " more");
    this.hover.textContent = [values.join(" · "), ...lines].join(" — ");
  }
}

const runs = new Map();
function show(section) {
  const run = runs.get(section);
  if (!run) runs.set(section, new Run(section));
  else if (run.stale) run.draw();
}
const sections = document.querySelectorAll(".run");
const watcher = new IntersectionObserver(
  entries => entries.filter(entry => entry.isIntersecting).forEach(entry => show(entry.target)), { rootMargin: "600px" });
sections.forEach(section => watcher.observe(section));
addEventListener("beforeprint", () => sections.forEach(section => section.clientWidth && show(section)));
whenRedrawn(() => runs.forEach(run => run.draw()));
