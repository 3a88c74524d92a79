// What a search found, compared with zero weights and with the best single module, as package shared/compose does.
import { correct } from "../compute/objective";
import type { Compute, Scorer } from "../compute/compute";
import type { Evaluation, Example, Task } from "../domain";
import { judged, type Judge } from "./loop";
import type { Output, Point, Prediction } from "./output";

export interface Found {
  evaluations: Evaluation[];
  /** What the optimizer chooses; undefined if it is gone. */
  best: number[] | undefined;
  stopped: string;
  seconds: number;
}

export interface Asked {
  modules: string[];
  names: string[];
  task: Task;
  method: "delta" | "product";
  optimizer: string;
  seed: number;
  bound: number;
  batch: number;
  judge: Judge;
}

/** Work tells how far the comparison is, 0 to 1. */
export type Work = (what: string, share: number) => void;

const shown = 50; // predictions of a kind

export async function compare(compute: Compute, scorer: Scorer, asked: Asked, found: Found, signal: AbortSignal, work: Work): Promise<Output> {
  const began = performance.now();
  const points = new Map<string, Evaluation>();
  const key = (w: number[]) => w.map((v) => v + 0).join();
  found.evaluations.forEach((e) => {
    if (Number.isFinite(e.objective) && !points.has(key(e.weights))) {
      points.set(key(e.weights), e);
    }
  });
  const dim = asked.modules.length;
  const alone = Math.min(1, asked.bound);
  const single = (i: number) => Array.from({ length: dim }, (_, j) => (i === j ? alone : 0));
  const zero = new Array<number>(dim).fill(0);
  const missing = [zero, ...(dim <= 256 ? asked.modules.map((_, i) => single(i)) : []), ...(found.best ? [found.best] : [])].filter((w) => !points.has(key(w)));
  for (let at = 0; at < missing.length; at += asked.batch) {
    work("Scoring the points of comparison", (0.5 * at) / missing.length);
    const batch = missing.slice(at, at + asked.batch);
    const scores = await scorer.score(batch, signal);
    batch.forEach((w, i) => points.set(key(w), judged(asked.judge, w, scores[i], { number: 0, round: 0, roundSize: 0 })));
  }
  const warnings = [...scorer.warnings];
  const zeroPoint = points.get(key(zero));
  const singles = asked.modules.map((_, i) => points.get(key(single(i)))).filter((e) => e !== undefined);
  const bestSingle = lowest(singles);
  let composed = (found.best && points.get(key(found.best))) ?? lowest(found.evaluations) ?? zeroPoint;
  if (composed && bestSingle && bestSingle.objective < composed.objective && found.evaluations.includes(bestSingle)) {
    warnings.push("The optimizer recommended weights with a higher objective than one module alone; that module alone is taken instead.");
    composed = bestSingle;
  }
  if (zeroPoint && composed && composed.objective >= zeroPoint.objective) {
    warnings.push("No weights were found that are better than zero weights: these modules do not help with these examples.");
  }
  if (composed && asked.judge.held > 0 && composed.heldOut > Math.max(2 * composed.loss, composed.loss + 0.1)) {
    warnings.push("Over-fitted: the held-out loss is much above the loss on the examples searched with. More examples are the remedy.");
  }
  const output: Output = {
    modules: asked.names, weights: Object.fromEntries(asked.names.map((name, i) => [name, composed?.weights[i] ?? 0])), objective: asked.judge.objective,
    zero_shot: pointOf(zeroPoint), best_single: pointOf(bestSingle), composed: pointOf(composed),
    heldout_by: asked.judge.held > 0 ? "holdout" : "", examples: asked.judge.tokens.length - asked.judge.held, holdout: asked.judge.held,
    eval_examples: asked.task.eval.length, evaluations: found.evaluations.length, extra_evaluations: missing.length,
    rounds: found.evaluations.at(-1)?.round ?? 0, stopped: found.stopped, seconds: 0, search_seconds: found.seconds, few: [], eval: [],
    history: history(found.evaluations), warnings, method: asked.method, optimizer: asked.optimizer, seed: asked.seed, backend: scorer.backend, base: compute.base,
  };
  if (output.best_single && bestSingle) {
    output.best_single.module = asked.names[bestSingle.weights.findIndex((w) => w !== 0)] ?? "";
  }
  await answer(compute, asked, output, signal, work);
  output.seconds = found.seconds + (performance.now() - began) / 1000;
  return output;
}

function pointOf(e: Evaluation | undefined): Point | null {
  if (!e || !Number.isFinite(e.objective)) {
    return null;
  }
  return { objective: e.objective, loss: e.loss, weights: e.weights, ...(Number.isFinite(e.heldOut) ? { heldout: e.heldOut } : {}) };
}

export function lowest(all: Evaluation[]): Evaluation | undefined {
  let best: Evaluation | undefined;
  for (const e of all) {
    if (Number.isFinite(e.objective) && !(best && best.objective <= e.objective)) {
      best = e;
    }
  }
  return best;
}

function history(evaluations: Evaluation[]): Output["history"] {
  const finite = (v: number) => (Number.isFinite(v) ? v : null);
  return evaluations.map((e) => ({ evaluation: e.number, round: e.round, objective: finite(e.objective), best: finite(e.best), heldout: finite(e.heldOut) }));
}

/** answer lets the model answer before and after, and measures accuracy on the evaluation examples. */
async function answer(compute: Compute, asked: Asked, output: Output, signal: AbortSignal, work: Work): Promise<void> {
  const rows = asked.task.rows.slice(0, shown);
  const examples: Example[] = [...rows, ...asked.task.eval];
  const inputs = examples.map((e) => e.input);
  if (!output.composed || inputs.length === 0) {
    return;
  }
  const generate = async (what: string, weights: number[], of: string[], from: number) => {
    const answers: string[] = [];
    for (let at = 0; at < of.length; at += 16) { // in parts, so that progress is seen and a page stays usable
      work(what, from + (0.16 * at) / of.length);
      answers.push(...(await compute.generate(asked.modules, weights, of.slice(at, at + 16), asked.method, { signal })));
    }
    return answers;
  };
  const before = await generate("Answering with the base alone", new Array<number>(asked.modules.length).fill(0), inputs, 0.5);
  const after = await generate("Answering with the composition", output.composed.weights, inputs, 0.67);
  const predictions = examples.map((e, i): Prediction => {
    const [b = "", a = ""] = [before[i], after[i]];
    return { input: e.input, target: e.output, before: b, after: a, before_right: correct(b, e.output), after_right: correct(a, e.output) };
  });
  const few = predictions.slice(0, rows.length);
  rows.forEach((row, i) => row.held && few[i] && (few[i].held_out = true));
  const evaluated = predictions.slice(rows.length);
  output.few = few;
  output.eval = evaluated.slice(0, shown);
  if (evaluated.length > 0) {
    const share = (right: (p: Prediction) => boolean) => (100 * evaluated.filter(right).length) / evaluated.length;
    if (output.zero_shot) {
      output.zero_shot.accuracy = share((p) => p.before_right);
    }
    output.composed.accuracy = share((p) => p.after_right);
    if (output.best_single) {
      const alone = await generate("Answering with the best single module", output.best_single.weights, asked.task.eval.map((e) => e.input), 0.84);
      output.best_single.accuracy = (100 * asked.task.eval.filter((e, i) => correct(alone[i] ?? "", e.output)).length) / evaluated.length;
    }
  }
}
