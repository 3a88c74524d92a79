// Step 3: the search, live.
import { useState } from "preact/hooks";
import { defaultSettings, faultOf, optimizers, type Method, type ObjectiveName, type Settings } from "../domain";
import { go } from "../route";
import { startJob } from "../state/jobs";
import { forgetPlugin, missingPlugin, takePlugin } from "../state/plugin";
import { begin, discard, pause, resume, stop } from "../state/runs";
import { activeRun, chosenModules, notify, store, usable, type Run } from "../state/store";
import { tidy } from "../text";
import { Banner, Button, count, digits, Drop, Empty, Field, Name, Progress } from "../ui/parts";
import { ObjectiveChart, WeightsChart } from "./Charts";

export function Search() {
  return (
    <>
      <h1 tabIndex={-1}>Search for the weights</h1>
      <p class="lead">The optimizer proposes weights, your examples score them, and it learns from the scores. It runs here, in a sandbox that can be stopped at any time.</p>
      <div class="split narrow-first">
        <Setup />
        <Live />
      </div>
    </>
  );
}

function Setup() {
  const s = store.settings.value;
  const busy = activeRun.value !== undefined;
  const set = (fields: Partial<Settings>) => (store.settings.value = { ...s, ...fields });
  const modules = chosenModules.value.length;
  const rows = usable.value.filter((r) => !r.held).length;
  const away = store.mode.value === "server" && !store.session.value;
  const run = () => {
    begin();
    document.getElementById("live")?.scrollIntoView({ block: "nearest" }); // on a narrow page it is further down
  };
  const act = (work: () => void) => {
    try {
      work();
    } catch (e) {
      notify("bad", faultOf(e).message);
    }
  };
  return (
    <section class="card" aria-labelledby="setup">
      <h2 id="setup">Set up</h2>
      <p class="muted">{count(modules, "module")}, {count(rows, "example")}{store.mode.value === "server" ? ", scored by the server" : ", scored in this page"}.</p>
      <Field label="Optimizer" hint={s.optimizer === "plugin" ? "A file of yours, in the sandbox." : (optimizers[s.optimizer] ?? "")}>
        <select value={s.optimizer} onChange={(e) => set({ optimizer: e.currentTarget.value })}>
          {Object.keys(optimizers).map((name) => <option key={name} value={name}>{name}</option>)}
          <option value="plugin" disabled={!store.plugin.value}>{s.plugin ? `plugin: ${tidy(s.plugin.name.slice(0, 60))}` : "plugin (drop a file below)"}</option>
        </select>
      </Field>
      <PluginFile />
      <div class="numbers">
        <Whole label="Budget" hint="evaluations" value={s.budget} min={1} max={10000} onChange={(budget) => set({ budget })} />
        <Whole label="Batch" hint="at once" value={s.batch} min={1} max={256} onChange={(batch) => set({ batch })} />
        <Whole label="Seed" hint="repeats it" value={s.seed} min={0} max={Number.MAX_SAFE_INTEGER} onChange={(seed) => set({ seed })} />
      </div>
      <Advanced settings={s} set={set} />
      <div class="row">
        <Button kind="main" disabled={busy || modules === 0 || rows === 0 || missingPlugin.value !== null} onClick={() => act(run)}>Run the search</Button>
        {store.mode.value === "server" && (
          <Button disabled={modules === 0 || rows === 0} onClick={() => void startJob().then((ok) => ok && go("/jobs"))}>Run as a job</Button>
        )}
      </div>
      {store.mode.value === "server" && <p class="hint">A job runs at the server to the end, also when this page is closed.</p>}
      {modules === 0 && !away && rows > 0 && <Banner kind="info">No module is chosen. <Button onClick={() => go("/modules")}>Choose modules</Button></Banner>}
      {away && <Banner kind="info">Sign in to search with the server's modules. <Button onClick={() => (store.signingIn.value = true)}>Sign in</Button></Banner>}
      {rows === 0 && <Banner kind="info">There is no example to search with. <Button onClick={() => go("/")}>Add examples</Button></Banner>}
    </section>
  );
}

function Whole({ label, hint, value, min, max, onChange }: { label: string; hint: string; value: number; min: number; max: number; onChange: (v: number) => void }) {
  return (
    <Field label={label} hint={hint}>
      <input type="number" value={value} min={min} max={max} step={1} onChange={(e) => onChange(Math.max(min, Math.min(max, Math.round(e.currentTarget.valueAsNumber || min))))} />
    </Field>
  );
}

function Advanced({ settings: s, set }: { settings: Settings; set: (fields: Partial<Settings>) => void }) {
  return (
    <details class="bring">
      <summary>More settings</summary>
      <Field label="Objective" hint="What is made small: the loss, and a penalty that keeps weights honest.">
        <select value={s.objective.name} onChange={(e) => set({ objective: { ...s.objective, name: e.currentTarget.value as ObjectiveName } })}>
          <option value="sparse">sparse: loss + penalty × sum of |w|</option>
          <option value="mean">mean: loss + penalty × mean of |w|</option>
          <option value="lorahub">lorahub: as the original</option>
        </select>
      </Field>
      <div class="numbers">
        <Field label="Penalty"><input type="number" min={0} step={0.01} value={s.objective.penalty} onChange={(e) => set({ objective: { ...s.objective, penalty: Math.max(0, e.currentTarget.valueAsNumber || 0) } })} /></Field>
        <Field label="Bound" hint="of |w|"><input type="number" min={0.1} max={100} step={0.1} value={s.bound} onChange={(e) => set({ bound: Math.max(0.1, e.currentTarget.valueAsNumber || 1.5) })} /></Field>
      </div>
      <Field label="Method">
        <select value={s.method} onChange={(e) => set({ method: e.currentTarget.value as Method })}>
          <option value="delta">delta: the sum of the modules' updates</option>
          <option value="product">product: LoraHub's own</option>
        </select>
      </Field>
      <Button kind="quiet" onClick={() => set(defaultSettings)}>Back to the defaults</Button>
    </details>
  );
}

function PluginFile() {
  const [problem, setProblem] = useState("");
  const plugin = store.plugin.value;
  const missing = missingPlugin.value;
  const take = async (file: File) => {
    setProblem("");
    try {
      await takePlugin(file);
    } catch (e) {
      setProblem(faultOf(e).message);
    }
  };
  return (
    <>
      {missing && (
        <Banner kind="info">
          The plugin <Name text={missing.name} most={60} /> is not in this browser. Drop its file <Name text={missing.file} most={60} />, whose SHA-256 begins with{" "}
          <span class="mono">{missing.sha256.slice(0, 12)}</span>, or choose another optimizer.
        </Banner>
      )}
      {plugin && (
        <p class="muted">
          Loaded: <Name text={plugin.name} /> {plugin.version && <Name text={plugin.version} most={20} />} from <Name text={plugin.file} most={60} />{" "}
          <span class="mono">{plugin.sha256.slice(0, 12)}</span> <Button kind="quiet" disabled={activeRun.value !== undefined} onClick={() => void forgetPlugin(plugin.sha256)}>Forget it</Button>
        </p>
      )}
      <Drop label="Drop an optimizer of yours" accept=".wasm,application/wasm" hint="a .wasm file; it gets no files, network or clock" onFile={(f) => void take(f)} />
      {problem && <Banner kind="bad">{problem}</Banner>}
      {plugin && store.settings.value.optimizer === "plugin" && <Options />}
    </>
  );
}

/** Options are a plugin's own, name=value on each line. */
function Options() {
  const s = store.settings.value;
  const [text, setText] = useState(() => Object.entries(s.options).map(([name, value]) => `${name}=${value}`).join("\n"));
  const take = (from: string) => {
    setText(from);
    const pairs = from.split("\n").map((line) => /^\s*([^=\s][^=]*?)\s*=\s*(.*?)\s*$/.exec(line)).filter((m) => m !== null);
    store.settings.value = { ...s, options: Object.fromEntries(pairs.map(([, name = "", value = ""]) => [name, value])) };
  };
  return (
    <Field label="Options of the plugin" hint="name=value, one a line">
      <textarea rows={2} value={text} onInput={(e) => take(e.currentTarget.value)} placeholder="population=16" />
    </Field>
  );
}

function Live() {
  const active = activeRun.value;
  const runs = store.runs.value;
  const on = runs.filter((r) => store.compared.value.includes(r.id));
  const drawn = on.filter((r) => r.evaluations.length > 0);
  const last = active ?? drawn.at(-1);
  return (
    <section class="card" aria-labelledby="live">
      <h2 id="live">{active ? "Under way" : "Runs"}</h2>
      {last && (active || last.output) && <Control run={last} />}
      {runs.length === 0 && <Empty title="Nothing yet">Run a search, and its objective is drawn here as it falls. Run several to compare them.</Empty>}
      {drawn.length > 0 && <ObjectiveChart runs={drawn} />}
      {last && last.evaluations.length > 0 && <WeightsChart run={last} several={runs.length > 1} />}
      {runs.length > 0 && <Runs runs={runs} />}
    </section>
  );
}

/** Control is a run under way, and then the way to its result: in one place, so that focus stays there. */
function Control({ run }: { run: Run }) {
  return <div class={`control ${run.state}`}>{run.state === "done" ? <Done run={run} /> : <Working run={run} />}</div>;
}

function Done({ run }: { run: Run }) {
  const see = () => {
    store.shown.value = run.id;
    go("/result");
  };
  return (
    <div class="row spread">
      <p><strong>Done</strong> <span class="muted">{summary(run)}</span></p>
      <Button kind="main" onClick={see}>Next: see the result</Button>
    </div>
  );
}

function Working({ run }: { run: Run }) {
  const best = run.evaluations.at(-1)?.best;
  const paused = run.state === "paused";
  return (
    <>
      <div class="row spread">
        <p aria-live="off">
          <strong>{run.trouble ? "Waiting" : run.phase || "Searching"}</strong>{" "}
          <span class="muted">{run.evaluations.length} of {run.settings.budget} evaluations{best !== undefined && <>, best {digits(best)}</>}{run.seconds > 0 && <>, {run.seconds.toFixed(1)} s</>}</span>
        </p>
        <div class="row">
          {paused ? <Button kind="main" onClick={() => resume(run.id)}>Resume</Button> : <Button onClick={() => pause(run.id)} disabled={run.state !== "running"}>Pause</Button>}
          <Button onClick={() => stop(run.id)}>Stop</Button>
        </div>
      </div>
      <Progress label="The search" share={run.share} />
      {store.engine.value.state === "loading" && run.mode === "local" && <p class="muted">{store.engine.value.what} … {Math.round(100 * store.engine.value.share)} %</p>}
      {run.trouble && (
        <Banner kind="wait">
          Paused. {run.trouble.message}{" "}
          {run.trouble.code === "unauthenticated" && <Button kind="main" onClick={() => (store.signingIn.value = true)}>Sign in again</Button>}
        </Banner>
      )}
    </>
  );
}

/** summary is a run in a line. */
function summary(r: Run): string {
  const state = r.state === "done" ? (r.stopped === "canceled" ? "stopped early, " : "") : `${r.state}${r.evaluations.length > 0 ? ", " : ""}`;
  return state + (r.evaluations.length > 0 ? `${digits(r.evaluations.at(-1)?.best)} after ${count(r.evaluations.length, "evaluation")}` : "");
}

function Runs({ runs }: { runs: Run[] }) {
  const toggle = (id: string, yes: boolean) => {
    store.compared.value = yes ? [...store.compared.value, id] : store.compared.value.filter((c) => c !== id);
  };
  return (
    <ul class="runs">
      {[...runs].reverse().map((r) => (
        <li key={r.id}>
          <label class="run">
            <input type="checkbox" checked={store.compared.value.includes(r.id)} onChange={(e) => toggle(r.id, e.currentTarget.checked)} />
            <span><span class="unseen">On the chart: </span><Name text={r.title} /></span>
          </label>
          <span class="muted">{summary(r)}</span>
          <span class="row">
            {r.output && <Button kind="quiet" onClick={() => { store.shown.value = r.id; go("/result"); }}>Result</Button>}
            {r.state === "failed" && r.evaluations.length > 0 && <Button kind="quiet" onClick={() => resume(r.id)}>Go on</Button>}
            <Button kind="quiet" class="icon" aria-label={`Remove the run ${r.title.slice(0, 60)}`} onClick={() => discard(r.id)}>✕</Button>
          </span>
          {r.problem && <p class="run-problem">{r.problem}</p>}
        </li>
      ))}
    </ul>
  );
}
