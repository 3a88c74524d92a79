// Jobs: compositions that run at the server.
import { signal } from "@preact/signals";
import type { Schemas } from "../api/client";
import { events } from "../api/stream";
import { ServerCompute } from "../compute/server";
import { faultOf } from "../domain";
import type { Output } from "../search/output";
import { patient } from "./patience";
import { client } from "./session";
import { chosenModules, notify, store, usable, type Run, type Trouble } from "./store";

export type Job = Schemas["Composition"];

/** What the jobs' view knows; best is the lowest objective heard of. */
export const jobs = signal<{ list: Job[]; loading: boolean; problem: string; trouble: Trouble | null; best: Record<string, number> }>({
  list: [], loading: false, problem: "", trouble: null, best: {},
});

const change = (fields: Partial<(typeof jobs)["value"]>) => (jobs.value = { ...jobs.value, ...fields });
const put = (job: Job) => change({ list: [...jobs.value.list.filter((j) => j.id !== job.id), job].sort((a, b) => b.created.localeCompare(a.created)) });

export const ended = (job: Job) => ["succeeded", "failed", "canceled"].includes(job.state);

export async function loadJobs(): Promise<void> {
  change({ loading: true, problem: "" });
  try {
    change({ list: await client.all<Job>("/v1/compositions", {}, 200), loading: false });
    jobs.value.list.filter((j) => !ended(j)).forEach((j) => void followJob(j.id));
  } catch (e) {
    change({ loading: false, problem: faultOf(e).message });
  }
}

/** startJob asks the server to run the search that is set up; false if it does not. */
export async function startJob(): Promise<boolean> {
  const s = store.settings.value;
  const rows = usable.value;
  const plugin = s.optimizer === "plugin" ? await uploaded() : undefined;
  if (s.optimizer === "plugin" && !plugin) {
    notify("bad", "The server does not have this plugin: upload it under Plugins first.");
    return false;
  }
  const strip = ({ input, output }: { input: string; output: string }) => ({ input, output });
  const json = {
    base: store.base.value, modules: chosenModules.value.map((m) => m.id), examples: rows.map(strip), holdout: rows.filter((r) => r.held).length,
    ...(store.task.value.eval.length > 0 ? { eval: store.task.value.eval.map(strip) } : {}),
    method: s.method, objective: s.objective.name, penalty: s.objective.penalty, budget: s.budget, batch: s.batch, seed: s.seed, bound: s.bound,
    optimizer: plugin ?? s.optimizer, ...(plugin ? { optimizer_options: s.options } : {}),
  };
  try {
    const job = await client.json<Job>("/v1/compositions", { method: "POST", json, headers: { "Idempotency-Key": crypto.getRandomValues(new Uint32Array(4)).join("-") } });
    put(job);
    void followJob(job.id);
    notify("good", "The job is queued.");
    return true;
  } catch (e) {
    notify("bad", `The job was not taken: ${faultOf(e).message}`);
    return false;
  }
}

/** uploaded is the id of the server's copy of the plugin that was dropped. */
async function uploaded(): Promise<string | undefined> {
  const digest = store.settings.value.plugin?.sha256;
  const plugins = await client.all<Schemas["Plugin"]>("/v1/plugins").catch(() => []);
  return digest ? plugins.find((p) => p.digest === digest)?.id : undefined;
}

const followed = new Map<string, AbortController>();

/** followJob keeps a job up to date from its events until it ends; after a break it goes on where it was. */
async function followJob(id: string): Promise<void> {
  if (followed.has(id)) {
    return;
  }
  const abort = new AbortController();
  followed.set(id, abort);
  let last = "";
  let over = false;
  const listen = async () => {
    const headers = last === "" ? {} : { "Last-Event-ID": last };
    const response = await client.send(`/v1/compositions/${id}/events`, { headers, signal: abort.signal });
    change({ trouble: null });
    for await (const e of events(response.body ?? new ReadableStream())) {
      last = e.id || last;
      heard(id, e.type, JSON.parse(e.data));
      over ||= e.type === "end";
    }
  };
  try {
    while (!over && !abort.signal.aborted) {
      await patient(listen, abort.signal, (trouble) => change({ trouble }));
      if (!over) {
        await new Promise((resolve) => setTimeout(resolve, 1000)); // the server closed the stream, as one that restarts does
      }
    }
  } catch (e) {
    const { code, message } = faultOf(e);
    if (code !== "canceled") {
      change({ problem: message });
    }
  } finally {
    followed.delete(id);
  }
}

function heard(id: string, type: string, data: unknown): void {
  if (type === "state" || type === "end") {
    put({ ...jobs.value.list.find((j) => j.id === id), ...(data as Job) });
    return;
  }
  const job = jobs.value.list.find((j) => j.id === id);
  if (type === "evaluation" && job) {
    const { evaluation, best } = data as { evaluation: number; best: number | null };
    put({ ...job, done: Math.max(job.done, evaluation) });
    if (typeof best === "number") {
      change({ best: { ...jobs.value.best, [id]: best } });
    }
  }
}

/** leaveJobs stops listening. */
export function leaveJobs(): void {
  followed.forEach((abort) => abort.abort());
}

export async function cancelJob(id: string): Promise<void> {
  try {
    put(await client.json<Job>(`/v1/compositions/${id}/cancel`, { method: "POST" }));
  } catch (e) {
    notify("bad", `The job goes on: ${faultOf(e).message}`);
  }
}

/** wordsOf scores a job's result once more for the log-probabilities of its tokens, which results do not hold. */
export async function wordsOf(job: Job): Promise<Run["words"]> {
  const { base, modules, examples, method } = job.request ?? {};
  const weights = (job.result as unknown as Output | undefined)?.composed?.weights;
  if (!base || !modules || !examples || weights?.length !== modules.length) {
    return null;
  }
  const scorer = await new ServerCompute(client, base).open(modules, examples, method ?? "delta");
  const [before, after] = await scorer.score([modules.map(() => 0), weights]);
  scorer.close();
  return before && after ? { before, after, counts: scorer.tokens, texts: scorer.words.map((t) => t.texts ?? null) } : null;
}

/** wholeJob is a job with its request and its result. */
export const wholeJob = (id: string): Promise<Job> => client.json<Job>(`/v1/compositions/${id}`);
