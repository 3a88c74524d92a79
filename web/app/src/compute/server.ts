// Forward passes at the server: /v1/evaluations scores, /v1/generations answers.
import { number, type Client, type Schemas } from "../api/client";
import { lines } from "../api/stream";
import { Fault, type Example, type Method, type Score } from "../domain";
import type { Compute, GenerateOptions, Scorer } from "./compute";
import { unzip } from "./zip";

export class ServerCompute implements Compute {
  readonly kind = "server";
  readonly base: string;
  readonly #client: Client;

  constructor(client: Client, base: string) {
    this.#client = client;
    this.base = base;
  }

  async open(modules: string[], examples: Example[], method: Method, signal?: AbortSignal): Promise<Scorer> {
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

  tokens(): undefined {
    return undefined; // the API tells target tokens alone, when an evaluation is opened
  }

  async files(module: string, signal?: AbortSignal): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
    const archive = await this.#client.blob(`/v1/modules/${module}/archive`, signal);
    return unzip(new Uint8Array(await archive.arrayBuffer()));
  }
}

/** Session is an evaluation at the server, opened again when the server has forgotten it. */
class Session implements Scorer {
  readonly tokens: number[];
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

  close(): void {
    this.#client.json(`/v1/evaluations/${this.#id}`, { method: "DELETE" }).catch(() => undefined); // it expires by itself
  }
}
