// Forward passes at the server: /v1/evaluations scores, /v1/generations answers.
import { number, type Client, type Schemas } from "../api/client";
import { lines } from "../api/stream";
import { Fault, type Example, type Method, type Score } from "../domain";
import type { Compute, GenerateOptions, Ranking, Scorer, Tokens } from "./compute";
import { unzip } from "./zip";

export class ServerCompute implements Compute {
  readonly kind = "server";
  readonly base: string;
  readonly #client: Client;

  constructor(client: Client, base: string) {
    this.#client = client;
    this.base = base;
  }

  async open(modules: string[], examples: Example[], method: Method, signal?: AbortSignal): Promise<Session> {
    const request = { base: this.base, modules, examples: examples.map(({ input, output }) => ({ input, output })), method };
    const open = (signal?: AbortSignal) => this.#client.json<Schemas["Evaluation"]>("/v1/evaluations", { method: "POST", json: request, signal });
    return new Session(this.#client, await open(signal), open);
  }

  async generate(modules: string[], weights: number[], inputs: string[], method: Method, o: GenerateOptions): Promise<string[]> {
    const answers: string[] = [];
    const most = 64; // inputs of a request
    for (let at = 0; at < inputs.length; at += most) {
      answers.push(...(await this.#answers(modules, weights, inputs.slice(at, at + most), at, method, o)));
    }
    return answers;
  }

  async #answers(modules: string[], weights: number[], inputs: string[], at: number, method: Method, o: GenerateOptions): Promise<string[]> {
    const used = modules.flatMap((id, i) => (weights[i] ? [[id, weights[i]] as const] : []));
    const json: Record<string, unknown> = { base: this.base, inputs, max_tokens: o.maxTokens ?? 64 };
    if (used.length > 0) {
      Object.assign(json, { modules: used.map(([id]) => id), weights: used.map(([, w]) => w), method });
    }
    const response = await this.#client.send("/v1/generations", { method: "POST", json, signal: o.signal });
    const answers = inputs.map(() => "");
    let ended = false;
    for await (const text of lines(response.body ?? new ReadableStream())) {
      const line = JSON.parse(text) as Schemas["GenerationLine"];
      if (line.problem) {
        throw new Fault(line.problem.code, line.problem.detail ?? line.problem.title, line.problem.field ?? "");
      }
      if (line.text !== undefined) {
        answers[line.input] += line.text;
        o.heard?.(at + line.input, line.text);
      }
      ended ||= line.end === true;
    }
    if (!ended) {
      throw new Fault("offline", "The connection broke before the whole answer had come.");
    }
    return answers;
  }

  async tokens(examples: Example[], module: string): Promise<Tokens[]> {
    const session = await this.open([module], examples, "delta");
    session.close();
    return session.words;
  }

  async rank(modules: string[], examples: Example[], method: Method, count: number, signal: AbortSignal): Promise<Ranking> {
    const session = await this.open(modules, examples, method, signal);
    try {
      return await session.rank(count, signal);
    } finally {
      session.close();
    }
  }

  async files(module: string, signal?: AbortSignal): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
    const archive = await this.#client.blob(`/v1/modules/${module}/archive`, signal);
    return unzip(new Uint8Array(await archive.arrayBuffer()));
  }
}

/** Session is an evaluation at the server, opened again when the server has forgotten it. */
class Session implements Scorer {
  readonly tokens: number[];
  readonly words: Tokens[];
  readonly warnings: string[];
  readonly backend: string;
  readonly #client: Client;
  readonly #open: (signal?: AbortSignal) => Promise<Schemas["Evaluation"]>;
  #id: string;

  constructor(client: Client, evaluation: Schemas["Evaluation"], open: (signal?: AbortSignal) => Promise<Schemas["Evaluation"]>) {
    this.#client = client;
    this.#open = open;
    this.#id = evaluation.id;
    this.tokens = evaluation.tokens;
    this.words = wordsOf(evaluation);
    this.warnings = evaluation.warnings;
    this.backend = evaluation.backend;
  }

  async score(weights: number[][], signal?: AbortSignal): Promise<Score[]> {
    const send = () => this.#client.json<Schemas["Scores"]>(`/v1/evaluations/${this.#id}/scores`, { method: "POST", json: { weights }, signal });
    let answer: Schemas["Scores"];
    try {
      answer = await send();
    } catch (e) {
      if (!(e instanceof Fault && e.code === "not_found")) {
        throw e;
      }
      this.#id = (await this.#open(signal)).id;
      answer = await send();
    }
    if (answer.scores.length !== weights.length) {
      throw new Fault("internal", `The server gave ${answer.scores.length} scores for ${weights.length} candidates.`);
    }
    return answer.scores.map((s) => ({ examples: s.examples.map(number), logProbs: s.log_probs.map(number) }));
  }

  async rank(count: number, signal: AbortSignal): Promise<Ranking> {
    const s = await this.#client.json<Schemas["Suggestions"]>(`/v1/evaluations/${this.#id}/suggestions`, { method: "POST", json: { count }, signal });
    return { base: number(s.base_loss), modules: s.modules.map((m) => ({ id: m.module, loss: number(m.loss) })) };
  }

  close(): void {
    this.#client.json(`/v1/evaluations/${this.#id}`, { method: "DELETE" }).catch(() => undefined); // it expires by itself
  }
}

/** wordsOf puts together what an evaluation tells of each example; a warning begins with "example 3: ". */
function wordsOf({ tokens, input_tokens: inputs, pieces, warnings }: Schemas["Evaluation"]): Tokens[] {
  const cut = new Map<number, string>();
  warnings.forEach((text) => {
    const [, example = "", what = ""] = /^example (\d+): (.*)$/s.exec(text) ?? [];
    cut.set(Number(example), cut.has(Number(example)) ? `${cut.get(Number(example))}, ${what}` : what);
  });
  return tokens.map((count, i) => ({ input: inputs[i] ?? 0, count, texts: pieces[i], warning: cut.get(i + 1) ?? "" }));
}
