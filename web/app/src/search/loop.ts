// The loop between an optimizer and whoever scores its candidates, as package shared/search runs it: same rounds, same trace.
import { value } from "../compute/objective";
import { Fault, type Evaluation, type Objective, type Score } from "../domain";
import { tokenMean } from "../compute/objective";
import type { Asking } from "./optimizer";
import type { Problem } from "./trace";

export interface Judge {
  objective: Objective;
  /** Target tokens of each example; the last so many examples are held out. */
  tokens: number[];
  held: number;
}

export interface Hooks {
  /** Called between rounds: waits while the search is paused, throws when it is stopped. */
  gate(): Promise<void>;
  evaluate(candidates: number[][]): Promise<Score[]>;
  observe(round: Evaluation[]): void;
}

/** search asks, scores and tells until the budget is spent or the optimizer has nothing more to ask. seen is told again first. */
export async function search(p: Problem, optimizer: Asking, judge: Judge, seen: Evaluation[], hooks: Hooks): Promise<"budget" | "converged"> {
  let count = 0;
  let round = 0;
  let best = NaN;
  while (count < p.budget) {
    await hooks.gate();
    const candidates = await optimizer.ask(Math.min(p.batch, p.budget - count));
    if (candidates.length === 0) {
      return "converged";
    }
    round++;
    const recorded = seen.slice(count, count + candidates.length);
    let evaluations: Evaluation[];
    if (recorded.length === candidates.length) {
      recorded.forEach((e, i) => check(e, candidates[i] ?? []));
      evaluations = recorded;
    } else {
      const scores = await hooks.evaluate(candidates);
      evaluations = candidates.map((weights, i) => judged(judge, weights, scores[i], { number: count + i + 1, round, roundSize: candidates.length }));
    }
    for (const e of evaluations) {
      best = Number.isFinite(e.objective) && !(best <= e.objective) ? e.objective : best;
      e.best = best;
    }
    if (evaluations !== recorded) {
      hooks.observe(evaluations);
    }
    await optimizer.tell(candidates, evaluations.map((e) => ({ objective: e.objective, logProbs: e.logProbs })));
    count += candidates.length;
  }
  return "budget";
}

/** check holds a replay to its record: the same seed asks the same. */
function check(e: Evaluation, asked: number[]): void {
  if (e.weights.length !== asked.length || !e.weights.every((w, i) => Object.is(w, asked[i]))) {
    throw new Fault("invalid", `The search cannot go on: evaluation ${e.number} was recorded by another one.`);
  }
}

/** judged makes an evaluation of a score: the held-out examples are apart, and the optimizer never sees them. */
export function judged(judge: Judge, weights: number[], score: Score | undefined, place: { number: number; round: number; roundSize: number }): Evaluation {
  const { tokens, held, objective } = judge;
  const cut = tokens.length - held;
  if (score?.examples.length !== tokens.length) {
    throw new Fault("internal", "A score does not fit the examples.");
  }
  const examples = score.examples.slice(0, cut);
  const counts = tokens.slice(0, cut);
  const logProbs = score.logProbs.slice(0, counts.reduce((sum, n) => sum + n, 0));
  const objectiveValue = value(objective, examples, counts, weights);
  return {
    ...place, weights: [...weights], examples, logProbs, loss: tokenMean(examples, counts), best: NaN,
    objective: Number.isFinite(objectiveValue) ? objectiveValue : NaN,
    heldOut: held > 0 ? tokenMean(score.examples.slice(cut), tokens.slice(cut)) : NaN,
  };
}
