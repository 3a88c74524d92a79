// Searches: started, paused, resumed, stopped, and compared with zero weights when they end.
import { batch } from "@preact/signals";
import { l1 } from "../compute/objective";
import type { Compute, Scorer } from "../compute/compute";
import { Fault, faultOf, type Evaluation } from "../domain";
import { search } from "../search/loop";
import { named, start, type Asking } from "../search/optimizer";
import { compare, lowest } from "../search/result";
import { trace, type Problem } from "../search/trace";
import { compute } from "./compute";
import { patient } from "./patience";
import { pluginOf } from "./plugin";
import { changeRun, chosenModules, notify, speak, store, usable, type Run } from "./store";
import { learnTokens } from "./tokens";

/** What works at a run; a run from before the page was loaded has none. */
interface Hands {
  abort: AbortController;
  /** Set while it is paused. */
  resume: (() => void) | undefined;
  gate: Promise<void> | undefined;
  stopping: boolean;
}

const hands = new Map<string, Hands>();

const runOf = (id: string): Run | undefined => store.runs.peek().find((r) => r.id === id);

/** begin starts a search with what is chosen. It throws what is missing. */
export function begin(): string {
  const mode = store.mode.value;
  const modules = chosenModules.value;
  const rows = usable.value;
  if (rows.filter((r) => !r.held).length === 0) {
    throw new Fault("invalid", "Add an example to search with first.", "examples");
  }
  if (modules.length === 0) {
    throw new Fault("invalid", "Choose modules first.", "modules");
  }
  const id = Date.now().toString(36) + Math.floor(Math.random() * 1e6).toString(36);
  const settings = store.settings.value;
  const number = 1 + Math.max(0, ...store.runs.value.map((r) => Number.parseInt(r.title, 10) || 0));
  const run: Run = {
    id, title: `${number} · ${settings.optimizer === "plugin" ? (settings.plugin?.name ?? "plugin") : settings.optimizer} · ${store.task.value.name}`, mode,
    base: mode === "server" ? store.base.value : "", modules: modules.map((m) => m.id), names: modules.map((m) => m.name),
    task: { ...store.task.value, rows }, settings, optimizer: settings.optimizer, state: "preparing", phase: "", share: 0, trouble: null, problem: "",
    stopped: "", evaluations: [], tokens: [], seconds: 0, output: null, words: null,
  };
  batch(() => {
    store.runs.value = [...store.runs.value, run];
    store.compared.value = [...store.compared.value.filter((c) => runOf(c)), id].slice(-6);
    store.shown.value = id;
  });
  void work(id);
  return id;
}

export function pause(id: string): void {
  const h = hands.get(id);
  if (h && !h.gate) {
    h.gate = new Promise((resolve) => (h.resume = resolve));
    changeRun(id, { state: "paused", phase: "Paused" });
    speak("The search is paused.");
  }
}

export function resume(id: string): void {
  const h = hands.get(id);
  if (!h) {
    void work(id);
    return;
  }
  h.resume?.();
  h.resume = h.gate = undefined;
  changeRun(id, { state: "running", phase: "Searching" });
}

/** stop ends a search early; what was found is compared and kept. */
export function stop(id: string): void {
  const h = hands.get(id);
  if (!h) {
    void work(id, true);
    return;
  }
  h.stopping = true;
  h.resume?.();
  h.gate = h.resume = undefined;
  if (runOf(id)?.trouble || runOf(id)?.state === "comparing") {
    h.abort.abort();
  }
}

export function discard(id: string): void {
  hands.get(id)?.abort.abort();
  store.runs.value = store.runs.value.filter((r) => r.id !== id);
}

class Stopped extends Error {}

async function work(id: string, stopping = false): Promise<void> {
  const h: Hands = { abort: new AbortController(), resume: undefined, gate: undefined, stopping };
  hands.set(id, h);
  const told = (trouble: Run["trouble"]) => {
    if (runOf(id)?.state !== "paused") {
      changeRun(id, { trouble, state: trouble ? "waiting" : "running" });
    }
    speak(trouble?.message ?? "The search goes on.");
  };
  const began = performance.now() - 1000 * (runOf(id)?.seconds ?? 0);
  let optimizer: Asking | undefined;
  try {
    const run = runOf(id);
    if (!run) {
      return;
    }
    changeRun(id, { state: "preparing", phase: run.mode === "local" ? "Starting the engine" : "Opening a session at the server", share: 0, problem: "" });
    const doing = await compute(run.mode, run.base);
    const opening = h.abort.signal;
    const scorer = await patient(() => doing.open(run.modules, run.task.rows, run.settings.method, opening), opening, told);
    learnTokens(doing, run.task.rows, scorer.words);
    changeRun(id, { tokens: scorer.tokens, phase: "Starting the optimizer" });
    const problem = problemOf({ ...run, tokens: scorer.tokens });
    const found = await searching(id, h, problem, scorer, told, began, (o) => (optimizer = o));
    await conclude(id, doing, scorer, found, began, h.abort.signal, told);
    scorer.close();
  } catch (e) {
    const fault = faultOf(e);
    const any = (runOf(id)?.evaluations.length ?? 0) > 0;
    const { aborted } = h.abort.signal;
    changeRun(id, { state: aborted && any ? "paused" : "failed", trouble: null, problem: aborted ? "" : fault.message, phase: aborted ? "Stopped" : "" });
    if (!aborted) {
      notify("bad", `The search ended: ${fault.message}`);
    }
  } finally {
    optimizer?.close();
    hands.delete(id);
  }
}

interface Ended {
  best: number[] | undefined;
  stopped: string;
}

/** searching runs the loop until it ends, is stopped, or the optimizer fails; then what was found counts. */
async function searching(
  id: string, h: Hands, problem: Problem, scorer: Scorer, told: (t: Run["trouble"]) => void, began: number, keep: (o: Asking) => void,
): Promise<Ended> {
  const run = runOf(id) as Run;
  const plugin = await pluginOf(run.settings);
  const naming = <T>(work: () => Promise<T>) => (plugin ? named(plugin.file, work) : work());
  const judge = judgeOf(run, scorer.tokens);
  let optimizer: Asking | undefined;
  let stopped = "";
  try {
    const started = await start(run.settings, plugin, problem, (share) => changeRun(id, { share }));
    keep((optimizer = started));
    changeRun(id, { optimizer: started.info().name === "medley" ? run.settings.optimizer : started.info().name, phase: "Searching", state: "running" });
    const asking: Asking = { ...bound(started), ask: (n) => naming(() => started.ask(n)), tell: (x, s) => naming(() => started.tell(x, s)) };
    stopped = await search(problem, asking, judge, run.evaluations, {
      gate: async () => {
        await h.gate;
        h.abort.signal.throwIfAborted();
        if (h.stopping) {
          throw new Stopped();
        }
      },
      evaluate: (x) => patient(() => scorer.score(x, h.abort.signal), h.abort.signal, told),
      observe: (round) => record(id, round, began, problem.budget),
    });
  } catch (e) {
    if (h.stopping || e instanceof Stopped) {
      stopped = "canceled";
    } else if ((runOf(id)?.evaluations.length ?? 0) > 0 && !h.abort.signal.aborted) {
      const { message } = faultOf(e);
      changeRun(id, { problem: message });
      notify("bad", `The search ended early: ${message}. What it found is kept.`);
      stopped = "failed";
    } else {
      throw e;
    }
  }
  if (h.abort.signal.aborted) {
    h.abort = new AbortController(); // what was found can still be compared
  }
  const best = await optimizer?.best().catch(() => undefined);
  return { best: best?.weights, stopped };
}

const bound = (o: Asking): Asking => ({
  info: () => o.info(), ask: (n) => o.ask(n), tell: (x, s) => o.tell(x, s), best: () => o.best(), close: () => o.close(),
});

// When progress was spoken of; those who listen hear of quarters, and not all the time.
let spokenAt = 0;

function record(id: string, round: Evaluation[], began: number, budget: number): void {
  const evaluations = [...(runOf(id)?.evaluations ?? []), ...round];
  changeRun(id, { evaluations, share: evaluations.length / budget, seconds: (performance.now() - began) / 1000 });
  const quarter = (n: number) => Math.floor((4 * n) / budget);
  if (quarter(evaluations.length) > quarter(evaluations.length - round.length) && evaluations.length < budget && Date.now() - spokenAt > 5000) {
    spokenAt = Date.now();
    speak(`${evaluations.length} of ${budget} evaluations; the best objective is ${evaluations.at(-1)?.best.toFixed(2)}.`);
  }
}

/** conclude compares what was found and keeps the result. */
async function conclude(
  id: string, doing: Compute, scorer: Scorer, ended: Ended, began: number, signal: AbortSignal, told: (t: Run["trouble"]) => void,
): Promise<void> {
  const run = runOf(id);
  if (!run || !lowest(run.evaluations)) {
    throw new Fault("canceled", "The search was stopped before any candidate was scored.");
  }
  const seconds = (performance.now() - began) / 1000;
  changeRun(id, { state: "comparing", phase: "Comparing", share: 0, stopped: ended.stopped });
  const judge = judgeOf(run, scorer.tokens);
  const { modules, names, task, settings, optimizer } = run;
  const asked = { modules, names, task, method: settings.method, optimizer, seed: settings.seed, bound: settings.bound, batch: settings.batch, judge };
  const found = { evaluations: run.evaluations, best: ended.best, stopped: ended.stopped, seconds };
  const waiting = (trouble: Run["trouble"]) => {
    told(trouble);
    changeRun(id, { state: trouble ? "waiting" : "comparing" });
  };
  const output = await patient(() => compare(doing, scorer, asked, found, signal, (phase, share) => changeRun(id, { phase, share })), signal, waiting);
  const zero = new Array<number>(modules.length).fill(0);
  const [before, after] = await patient(() => scorer.score([zero, output.composed?.weights ?? zero], signal), signal, waiting);
  changeRun(id, { output, words: before && after ? { before, after, counts: scorer.tokens, texts: scorer.words.map((t) => t.texts ?? null) } : null, state: "done", phase: "", share: 1, trouble: null });
  store.shown.value = id;
  speak(`The search is done: objective ${output.composed?.objective.toFixed(3) ?? "unknown"}.`);
}

function judgeOf(run: Run, tokens: number[]) {
  return { objective: run.settings.objective, tokens, held: run.task.rows.filter((r) => r.held).length };
}

export function problemOf(run: Run): Problem {
  const { bound, budget, batch: most, seed, objective } = run.settings;
  const dim = run.modules.length;
  const searched = run.task.rows.filter((r) => !r.held).length;
  return {
    dim, lower: new Array<number>(dim).fill(-bound), upper: new Array<number>(dim).fill(bound), budget, batch: most, seed, l1: l1(objective, dim),
    groups: run.tokens.slice(0, searched),
  };
}

/** traceOf is the run's trace, which the command line reads too. */
export function traceOf(run: Run): string {
  return trace(problemOf(run), run.optimizer, { base: run.output?.base ?? run.base, modules: run.names.join(" ") }, run.evaluations);
}

