// uPlot in the page's colours, as wide as its place, with nothing that moves by itself.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const FONT = "12px system-ui, sans-serif";

export class Chart {
  /** make(css): {series, bands?, scales?, axes?, draw?, after?}; called anew when the series or the colours change. */
  constructor(place, make) {
    this.place = place;
    this.make = make;
    this.key = "";
    new ResizeObserver(() => this.fit()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.key = "";
      if (this.data) this.show(this.data, this.shape);
    });
  }

  /** data: as uPlot has it. shape: a text that changes where the series do. */
  show(data, shape) {
    this.data = data;
    this.shape = shape;
    if (this.plot && this.key === shape) {
      this.plot.setData(data);
      return;
    }
    this.plot?.destroy();
    this.key = shape;
    this.plot = new uPlot({ ...this.options(), ...this.size() }, data, this.place);
  }

  size() {
    return { width: Math.max(160, this.place.clientWidth), height: Math.max(120, this.place.clientHeight) };
  }

  fit() {
    if (this.plot && this.place.clientWidth) this.plot.setSize(this.size());
  }

  options() {
    const made = this.make(css);
    const axis = (more) => ({
      stroke: css("--muted"),
      font: FONT,
      grid: { stroke: css("--line"), width: 1 },
      ticks: { show: false },
      ...more,
    });
    return {
      legend: { show: false },
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      padding: [10, 22, 0, 0],
      series: [{}, ...made.series],
      bands: made.bands ?? [],
      scales: { x: { time: false }, ...made.scales },
      axes: [
        axis({ space: 60, size: 28, values: (u, at) => at.map((v) => (Number.isInteger(v) ? String(v) : "")) }),
        ...(made.axes ?? [{}]).map((more) => axis({ size: 50, ...more })),
      ],
      hooks: {
        draw: made.draw ? [made.draw] : [],
        setSize: made.after ? [made.after] : [],
        setScale: made.after ? [made.after] : [],
        ready: made.after ? [made.after] : [],
        setCursor: made.cursor ? [made.cursor] : [],
      },
    };
  }
}

/** One x for lines that have their own: sorted, without repeats. */
export function joined(lines) {
  const x = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const at = new Map(x.map((value, i) => [value, i]));
  const columns = lines.flatMap((line) =>
    line.y.map((values) => {
      const column = new Array(x.length).fill(null);
      values.forEach((value, i) => (column[at.get(line.x[i])] = value));
      return column;
    }),
  );
  return [x, ...columns];
}
