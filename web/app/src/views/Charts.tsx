// The charts of a search.
import { useMemo } from "preact/hooks";
import type { Evaluation } from "../domain";
import type { Run } from "../state/store";
import { Chart, Legend, palette, type Series } from "../ui/Chart";
import { count, digits, Name } from "../ui/parts";

const known = (v: number | undefined) => (v === undefined || !Number.isFinite(v) ? null : v);
const colourOf = (i: number) => palette[i % palette.length] ?? "--series-1";

/** ObjectiveChart draws objective and held-out loss against evaluations, of several runs. */
export function ObjectiveChart({ runs }: { runs: Run[] }) {
  const drawing = useMemo(() => objectives(runs), [runs.map((r) => `${r.id}:${r.evaluations.length}:${r.title}`).join()]);
  const summary = `Objective against evaluations of ${count(runs.length, "run")}. ` +
    runs.map((r) => `${r.title.slice(0, 80)}: ${digits(r.evaluations[0]?.best)} at first, ${digits(r.evaluations.at(-1)?.best)} after ${r.evaluations.length}.`).join(" ");
  return (
    <figure>
      <figcaption>Objective <span class="muted">lower is better</span></figcaption>
      <Chart summary={summary} x={drawing.x} series={drawing.series} xLabel="evaluations" log={drawing.log} />
      <Legend series={drawing.series} />
    </figure>
  );
}

function objectives(runs: Run[]): { x: number[]; series: Series[]; log: boolean } {
  const longest = Math.max(1, ...runs.map((r) => r.evaluations.length));
  const x = Array.from({ length: longest }, (_, i) => i + 1);
  const column = (r: Run, of: (e: Evaluation) => number) => x.map((_, i) => known(r.evaluations[i] && of(r.evaluations[i])));
  const series = runs.flatMap((r, i): Series[] => {
    const several = runs.length > 1;
    const held = r.evaluations.some((e) => Number.isFinite(e.heldOut));
    return [
      ...(runs.length === 1 ? [{ label: "each candidate", values: column(r, (e) => e.objective), colour: "--faint", kind: "dots" as const }] : []),
      { label: several ? r.title.slice(0, 40) : "best so far", values: column(r, (e) => e.best), colour: colourOf(i) },
      ...(held ? [{ label: several ? `${r.title.slice(0, 40)}, held out` : "held-out loss", values: heldOut(r, x.length), colour: colourOf(i + 3), kind: "dashed" as const }] : []),
    ];
  });
  const all = series.flatMap((s) => s.values).filter((v) => v !== null);
  return { x, series, log: all.length > 0 && all.every((v) => v > 0) && Math.max(...all) > 8 * Math.min(...all) };
}

/** heldOut is the held-out loss had the search ended there: that of the best candidate so far. */
function heldOut(r: Run, length: number): (number | null)[] {
  let at: number | null = null;
  const values = r.evaluations.map((e) => {
    if (e.objective === e.best) {
      at = known(e.heldOut);
    }
    return at;
  });
  return Array.from({ length }, (_, i) => values[i] ?? null);
}

/** WeightsChart draws the weights of the best candidate so far. */
export function WeightsChart({ run, several }: { run: Run; several: boolean }) {
  const { x, series, others } = useMemo(() => weights(run), [run.id, run.evaluations.length]);
  const summary = `Weights of the best candidate so far. At the end: ${series.map((s) => `${s.label} ${digits(s.values.at(-1), 2)}`).join(", ")}.`;
  return (
    <figure>
      <figcaption>Weights <span class="muted">of the best candidate so far{several && <> of run <Name text={run.title} most={40} /></>}{others > 0 ? `; the ${series.length} largest of ${series.length + others} that were used` : ""}</span></figcaption>
      <Chart summary={summary} x={x} series={series} xLabel="evaluations" height={200} />
      <Legend series={series} />
    </figure>
  );
}

function weights(run: Run): { x: number[]; series: Series[]; others: number } {
  let best: number[] = run.modules.map(() => 0);
  const rows = run.evaluations.map((e) => (best = e.objective === e.best ? e.weights : best));
  const used = run.modules.map((_, i) => i).filter((i) => rows.some((w) => w[i] !== 0));
  const largest = used.sort((a, b) => Math.abs(best[b] ?? 0) - Math.abs(best[a] ?? 0)).slice(0, palette.length);
  return {
    x: run.evaluations.map((e) => e.number), others: used.length - largest.length,
    series: largest.map((m, i) => ({ label: (run.names[m] ?? "").slice(0, 40), values: rows.map((w) => w[m] ?? 0), colour: colourOf(i), width: 1.5 })),
  };
}
