// A uPlot chart as a function of its data. uPlot is loaded with the views that draw.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { tidy } from "../text";
import "uplot/dist/uPlot.min.css";

export interface Series {
  label: string;
  /** One value per x; null is a gap. */
  values: (number | null)[];
  /** A custom property of the style sheet. */
  colour: string;
  kind?: "line" | "dots" | "dashed";
  width?: number;
}

interface Props {
  /** What it shows, in words, for those who do not see it. */
  summary: string;
  x: number[];
  series: Series[];
  xLabel: string;
  height?: number;
  /** Draws the vertical axis logarithmically; for values above zero only. */
  log?: boolean;
}

export function Chart({ summary, x, series, xLabel, height = 240, log = false }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot>();
  const data = useRef<Props>();
  data.current = { summary, x, series, xLabel, height, log };
  const shape = JSON.stringify([series.map((s) => [s.label, s.colour, s.kind]), height, log]);

  useEffect(() => {
    const element = box.current;
    if (!element) {
      return;
    }
    const make = () => {
      chart.current?.destroy();
      chart.current = new uPlot(options(element, data.current as Props), table(data.current as Props), element);
    };
    make();
    const resized = new ResizeObserver(() => {
      if (chart.current && Math.abs(chart.current.width - element.clientWidth) > 1) {
        chart.current.setSize({ width: element.clientWidth, height });
      }
    });
    resized.observe(element);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const themed = new MutationObserver(make);
    themed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    dark.addEventListener("change", make);
    return () => {
      resized.disconnect();
      themed.disconnect();
      dark.removeEventListener("change", make);
      chart.current?.destroy();
      chart.current = undefined;
    };
  }, [shape]);

  useEffect(() => {
    // A frame at most: rounds of a fast search come quicker than anybody sees.
    const frame = requestAnimationFrame(() => chart.current?.setData(table({ summary, x, series, xLabel })));
    return () => cancelAnimationFrame(frame);
  }, [x, series]);

  return <div ref={box} class="chart" role="img" aria-label={summary} style={{ minHeight: `${height}px` }} />;
}

function table({ x, series }: Props): uPlot.AlignedData {
  return [x, ...series.map((s) => s.values)];
}

function options(element: HTMLElement, { series, xLabel, height = 240, log = false }: Props): uPlot.Options {
  const style = getComputedStyle(element);
  // The sheet writes light-dark(), which a canvas does not know: the probe's colour is what it comes to.
  const probe = document.createElement("span");
  element.append(probe);
  const colour = (name: string) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const [text, grid] = [colour("--muted"), colour("--line")];
  const font = `12px ${style.fontFamily}`;
  const decades = (_: uPlot, splits: number[]) => splits.map((v) => (Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-9 ? v : null));
  const axis = { stroke: text, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 4 } };
  const result: uPlot.Options = {
    width: Math.max(element.clientWidth, 120), height, padding: [8, 8, 0, 0],
    legend: { show: false }, cursor: { show: false },
    scales: { x: { time: false }, y: log ? { distr: 3, range: (_, least, most) => close(least, most) } : {} },
    axes: [{ ...axis, label: xLabel, labelFont: font, labelSize: 18, size: 28, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000] }, { ...axis, size: 48, grid: { ...axis.grid, ...(log ? { filter: decades } : {}) } }],
    series: [{}, ...series.map((s): uPlot.Series => drawn(s, colour(s.colour)))],
  };
  probe.remove();
  return result;
}

/** close ends a logarithmic axis soon after its values, where uPlot would go on to the next power of ten. */
function close(least: number | null, most: number | null): uPlot.Range.MinMax {
  if (least === null || most === null) {
    return [least, most];
  }
  const step = 10 ** Math.floor(Math.log10(most));
  return [uPlot.rangeLog(least, most, 10, false)[0], step * Math.ceil(most / step)];
}

const steps = uPlot.paths.stepped?.({ align: 1 }) ?? (() => null); // what was best stays so until the next evaluation

function drawn(s: Series, stroke: string): uPlot.Series {
  const points = s.kind === "dots";
  return {
    label: s.label, stroke, width: points ? 0 : (s.width ?? 2), spanGaps: true, points: { show: points, size: 5, fill: stroke },
    ...(s.kind === "dashed" ? { dash: [5, 4] } : {}), paths: points ? () => null : steps,
  };
}

export const palette = Array.from({ length: 8 }, (_, i) => `--series-${i + 1}`);

export function Legend({ series }: { series: Pick<Series, "label" | "colour" | "kind">[] }) {
  return (
    <ul class="legend">
      {series.map((s) => (
        <li key={s.label}>
          <span class={`swatch ${s.kind ?? "line"}`} style={{ color: `var(${s.colour})` }} aria-hidden="true" />
          <bdi>{tidy(s.label)}</bdi>
        </li>
      ))}
    </ul>
  );
}
