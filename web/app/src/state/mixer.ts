// Composing by hand: as sliders move, the objective, the losses and a text follow. Of several answers the last asked one counts.
import { computed, effect } from "@preact/signals";
import type { Compute, Scorer } from "../compute/compute";
import { tokenMean, value } from "../compute/objective";
import { faultOf, type Method } from "../domain";
import { compute } from "./compute";
import { Latest } from "./latest";
import { patient } from "./patience";
import { chosenModules, notify, speak, store, usable, type Mixed } from "./store";
import { learnTokens } from "./tokens";

const none: Mixed = { objective: NaN, loss: NaN, heldOut: NaN, examples: [], text: "", scoring: false, writing: false, problem: "", zero: null };

interface Opened {
  key: string;
  compute: Compute;
  scorer: Scorer;
  zero: { objective: number; examples: number[] };
}

const engineInfo = computed(() => (store.engine.value.state === "ready" ? store.engine.value.info : null));

let opened: Opened | undefined;
const scoring = new Latest();
const writing = new Latest();

/** open returns the scorer of what is chosen now, the one at hand if it is that. */
async function open(): Promise<Opened | undefined> {
  const mode = store.mode.value;
  const modules = chosenModules.value.map((m) => m.id);
  const rows = usable.value;
  const { method, objective } = store.settings.value;
  if (modules.length === 0 || rows.length === 0) {
    return undefined;
  }
  const base = store.base.value;
  const key = JSON.stringify([mode, base, modules, rows.map((r) => [r.input, r.output, r.held]), method, objective, store.session.value?.token]);
  const doing = await compute(mode, base);
  if (opened?.key === key && (opened.compute === doing || mode === "server")) { // the page's engine may have been started anew
    return opened;
  }
  const scorer = await doing.open(modules, rows, method);
  learnTokens(doing, rows, scorer.words);
  const [first] = await scorer.score([new Array<number>(modules.length).fill(0)]);
  opened?.scorer.close();
  const cut = rows.filter((r) => !r.held).length;
  const zero = first?.examples ?? [];
  const at = value(objective, zero.slice(0, cut), scorer.tokens.slice(0, cut), []);
  opened = { key, compute: doing, scorer, zero: { objective: at, examples: zero } };
  return opened;
}

const change = (fields: Partial<Mixed>) => {
  store.mixed.value = { ...(store.mixed.peek() ?? none), ...fields };
};

let telling = 0;

/** tell says the objective once sliders have rested for a while. */
function tell(): void {
  clearTimeout(telling);
  telling = window.setTimeout(() => {
    if (document.activeElement?.matches(".slider input") && store.mixed.peek()) {
      speak(`Objective ${store.mixed.peek()?.objective.toFixed(2)}.`);
    }
  }, 1000);
}

async function score(weights: number[]): Promise<void> {
  change({ scoring: true, problem: "" });
  try {
    const o = await open();
    if (!o || o.scorer.tokens.length !== usable.value.length) {
      change({ scoring: false });
      return;
    }
    const [s] = await o.scorer.score([weights]);
    const cut = usable.value.filter((r) => !r.held).length;
    const { tokens } = o.scorer;
    const examples = s?.examples ?? [];
    change({
      scoring: false, examples, zero: o.zero,
      objective: value(store.settings.value.objective, examples.slice(0, cut), tokens.slice(0, cut), weights),
      loss: tokenMean(examples.slice(0, cut), tokens.slice(0, cut)), heldOut: tokenMean(examples.slice(cut), tokens.slice(cut)),
    });
    tell();
  } catch (e) {
    change({ scoring: false, problem: faultOf(e).message });
  }
}

async function write(prompt: string, modules: string[], weights: number[], method: Method): Promise<void> {
  change({ writing: true });
  let text = "";
  try {
    const doing = await compute(store.mode.value);
    const [answer = ""] = await doing.generate(modules, weights, [prompt], method, {
      maxTokens: 48,
      heard: (_, piece) => {
        text += piece;
        change({ text });
      },
    });
    change({ writing: false, text: answer });
  } catch (e) {
    change({ writing: false, problem: faultOf(e).message });
  }
}

/** follow starts to follow the sliders, 120 ms after they rest. view tells whether the mixer is seen. */
export function follow(seen: () => boolean): void {
  let timer = 0;
  effect(() => {
    const modules = chosenModules.value.map((m) => m.id);
    const weights = modules.map((id) => store.weights.value[id] ?? 0);
    const prompt = store.prompt.value;
    const { method } = store.settings.value;
    void usable.value;
    void store.session.value;
    void engineInfo.value;
    clearTimeout(timer);
    if (!seen() || modules.length === 0) {
      store.mixed.value = null;
      return;
    }
    timer = window.setTimeout(() => {
      if (usable.value.length > 0) {
        scoring.run(() => score(weights));
      }
      if (prompt.trim() !== "") {
        writing.run(() => write(prompt, modules, weights, method));
      }
    }, 120);
  });
}

let suggesting: AbortController | undefined;

/** suggest tries every module alone on the examples searched with, here or at the server, and chooses those that help most. */
export async function suggest(count: number): Promise<void> {
  const mode = store.mode.value;
  const modules = store.modules.value[mode].slice(0, 1000).map((m) => m.id);
  const rows = usable.value.filter((r) => !r.held);
  if (modules.length === 0 || rows.length === 0) {
    return;
  }
  const { signal } = (suggesting = new AbortController());
  store.suggesting.value = 0;
  try {
    const doing = await compute(mode);
    const { method } = store.settings.value;
    const rank = () => doing.rank(modules, rows, method, count, signal, (share) => (store.suggesting.value = share));
    const ranking = await patient(rank, signal, (trouble) => trouble && notify("info", trouble.message));
    signal.throwIfAborted();
    const helpful = ranking.modules.filter((m) => m.loss < ranking.base);
    const taken = helpful.length > 0 ? helpful : ranking.modules;
    store.chosen.value = { ...store.chosen.value, [mode]: taken.map((m) => m.id) };
    notify(helpful.length > 0 ? "good" : "info", helpful.length > 0
      ? `Each of ${modules.length} modules was tried alone on your examples; the ${taken.length} that help most are chosen.`
      : `Each of ${modules.length} modules was tried alone on your examples, and none helps by itself. The ${taken.length} that hurt least are chosen: together they may.`);
  } catch (e) {
    if (!signal.aborted) {
      notify("bad", `Nothing could be suggested: ${faultOf(e).message}`);
    }
  } finally {
    store.suggesting.value = null;
  }
}

/** stopSuggesting ends it; nothing is chosen. */
export function stopSuggesting(): void {
  suggesting?.abort();
}
