// Forward passes in this page: the Go engine on the built-in zoo.
import { Fault, type Example, type Method, type ModuleInfo, type Score } from "../domain";
import { load, parts } from "../parts";
import type { Compute, GenerateOptions, Ranking, Scorer, Tokens } from "./compute";
import { loadEngine } from "./engine";
import type { Candidate, Files, Model } from "./medley";
import { tokenMean } from "./objective";

const zooBase = "medley/tiny-t5";

const rankedAtOnce = 8; // so that it can be canceled soon

/** zooModules are the modules of the zoo; every one has rank 8. */
export function zooModules(): ModuleInfo[] {
  return folders("modules/").map((name) => ({
    id: name, name, task: name.replaceAll("_", " "), author: "Medley zoo", licence: "Apache-2.0", base: zooBase, rank: 8, mine: false, created: "",
    size: parts.zoo.files[`modules/${name}/adapter_model.safetensors`] ?? 0,
  }));
}

/** zooTasks are the tasks of the zoo, which no module was trained on. */
export function zooTasks(): string[] {
  return Object.keys(parts.zoo.files).flatMap((path) => /^tasks\/(.*)\.few\.jsonl$/.exec(path)?.[1] ?? []);
}

export async function zooTask(name: string): Promise<{ few: string; eval: string }> {
  const names = [`tasks/${name}.few.jsonl`, `tasks/${name}.eval.jsonl`];
  const files = await load(parts.zoo, names, () => undefined);
  const [few = "", evaluation = ""] = names.map((path) => new TextDecoder().decode(files.get(path)));
  return { few, eval: evaluation };
}

function folders(under: string): string[] {
  const all = Object.keys(parts.zoo.files).filter((path) => path.startsWith(under)).map((path) => path.split("/")[1] ?? "");
  return [...new Set(all)];
}

export interface EngineInfo {
  backend: string;
  device: string;
  reason: string;
  candidates: Candidate[];
  /** Evaluations a second, measured on this machine. */
  rate: number;
}

export type Stage = (what: string, share: number) => void;

export class LocalCompute implements Compute {
  readonly kind = "local";
  readonly base = zooBase;
  readonly #model: Model;
  readonly #names: string[];
  readonly #files: Map<string, Uint8Array<ArrayBuffer>>;
  readonly info: EngineInfo;

  private constructor(model: Model, names: string[], files: Map<string, Uint8Array<ArrayBuffer>>, info: EngineInfo) {
    this.#model = model;
    this.#names = names;
    this.#files = files;
    this.info = info;
  }

  /** start loads the engine and the zoo, and measures how fast they are here. */
  static async start(backend: string, stage: Stage): Promise<LocalCompute> {
    const { open } = await loadEngine((loaded, total) => stage("Loading the engine", (0.5 * loaded) / total));
    const names = folders("modules/");
    const wanted = Object.keys(parts.zoo.files).filter((path) => path.startsWith("base/") || path.startsWith("modules/"));
    const files = await load(parts.zoo, wanted, (loaded, total) => stage("Loading the models", 0.5 + (0.4 * loaded) / total));
    stage("Testing what this machine has", 0.92);
    const model = await open(folder(files, "base/"), { backend });
    for (const [i, name] of names.entries()) {
      stage("Reading the modules", 0.93 + (0.05 * i) / names.length);
      await model.addModule(name, folder(files, `modules/${name}/`));
    }
    stage("Measuring", 0.98);
    const rate = await measure(model, names.length);
    const { device, reason, candidates } = model;
    return new LocalCompute(model, names, files, { backend: model.backend, device, reason, candidates, rate });
  }

  async open(modules: string[], examples: Example[], method: Method): Promise<Scorer> {
    const words = await this.tokens(examples);
    const expand = (weights: number[]) => this.#expand(modules, weights);
    return {
      tokens: words.map((t) => t.count), words,
      warnings: words.flatMap((t, i) => (t.warning ? [`Example ${i + 1}: ${t.warning}.`] : [])),
      backend: this.info.backend,
      score: async (weights, signal): Promise<Score[]> => {
        signal?.throwIfAborted();
        const scores = await this.#model.score(plain(examples), weights.map(expand), { method });
        return scores.map((s) => ({ examples: s.examples, logProbs: s.logProbs.flat() }));
      },
      close: () => undefined,
    };
  }

  async generate(modules: string[], weights: number[], inputs: string[], method: Method, o: GenerateOptions): Promise<string[]> {
    o.signal?.throwIfAborted();
    const { heard, maxTokens = 64 } = o;
    const answers = await this.#model.generate(inputs, this.#expand(modules, weights), heard && ((input, _, text) => heard(input, text)), { method, maxTokens });
    return answers.map((a) => a.text);
  }

  async tokens(examples: Example[]): Promise<Tokens[]> {
    const all = await this.#model.tokens(plain(examples));
    return all.map(({ input, output, warning }) => ({ input, count: output.length, texts: output, warning }));
  }

  async rank(modules: string[], examples: Example[], method: Method, count: number, signal: AbortSignal, told: (share: number) => void): Promise<Ranking> {
    const scorer = await this.open(modules, examples, method);
    const vectors = [modules.map(() => 0), ...modules.map((_, i) => modules.map((_, j) => (i === j ? 1 : 0)))];
    const losses: number[] = [];
    while (losses.length < vectors.length) {
      told(losses.length / vectors.length);
      const scores = await scorer.score(vectors.slice(losses.length, losses.length + rankedAtOnce), signal);
      losses.push(...scores.map((s) => tokenMean(s.examples, scorer.tokens)));
    }
    const [base = NaN, ...single] = losses;
    const ranked = modules.map((id, i) => ({ id, loss: single[i] ?? NaN })).sort((a, b) => (a.loss < b.loss ? -1 : b.loss < a.loss ? 1 : 0));
    return { base, modules: ranked.slice(0, count) };
  }

  async files(module: string): Promise<Files> {
    return folder(this.#files, `modules/${module}/`);
  }

  close(): void {
    this.#model.close();
  }

  /** #expand spreads weights of some modules over all that the engine has. */
  #expand(modules: string[], weights: number[]): number[] {
    const all = new Array<number>(this.#names.length).fill(0);
    modules.forEach((id, i) => {
      const at = this.#names.indexOf(id);
      if (at < 0) {
        throw new Fault("not_found", `The module ${id} is not part of the built-in zoo.`, "modules");
      }
      all[at] = weights[i] ?? 0;
    });
    return all;
  }
}

/** folder is the files under a path. */
function folder(files: Map<string, Uint8Array<ArrayBuffer>>, under: string): Files {
  const inside = [...files].filter(([path]) => path.startsWith(under));
  return Object.fromEntries(inside.map(([path, data]) => [path.slice(under.length), data]));
}

/** plain leaves out what the page alone knows of examples. */
function plain(examples: Example[]): Example[] {
  return examples.map(({ input, output }) => ({ input, output }));
}

/** measure returns evaluations a second: the better of two batches of eight vectors on five examples. */
async function measure(model: Model, modules: number): Promise<number> {
  const examples = ["cat", "house", "one berry", "two", "dog"].map((input) => ({ input, output: "a house" }));
  const weights = Array.from({ length: 8 }, (_, i) => Array.from({ length: modules }, (_, j) => (((i * 7 + j * 3) % 11) - 5) / 5));
  let best = Infinity;
  for (let i = 0; i < 2; i++) {
    const before = performance.now();
    await model.score(examples, weights);
    best = Math.min(best, performance.now() - before);
  }
  return (1000 * weights.length) / best;
}
