// The sliders, and what follows them.
import { shownRun, chosenModules, store, usable } from "../state/store";
import { Banner, Button, digits, Empty, Field, Name } from "../ui/parts";

export function Mixer() {
  const modules = chosenModules.value;
  const best = shownRun.value?.output;
  if (modules.length === 0) {
    return <section class="card"><Empty title="Mix by hand">Choose a module or two, and their sliders appear here.</Empty></section>;
  }
  const set = (weights: Record<string, number>) => (store.weights.value = { ...store.weights.value, ...weights });
  const fromRun = () => {
    const run = shownRun.value;
    const { weights = [] } = run?.output?.composed ?? {};
    set(Object.fromEntries(modules.map((m) => [m.id, weights[run?.modules.indexOf(m.id) ?? -1] ?? 0])));
  };
  return (
    <section class="card mixer" aria-labelledby="mixer">
      <div class="card-head">
        <h2 id="mixer">Mix by hand</h2>
        <div class="row">
          {best?.composed && <Button kind="quiet" onClick={fromRun}>Take the search's weights</Button>}
          <Button kind="quiet" onClick={() => set(Object.fromEntries(modules.map((m) => [m.id, 0])))}>All to zero</Button>
        </div>
      </div>
      <Answer />
      <ul class="sliders">
        {modules.map((m) => <Slider key={m.id} id={m.id} name={m.name} onChange={(w) => set({ [m.id]: w })} />)}
      </ul>
    </section>
  );
}

function Slider({ id, name, onChange }: { id: string; name: string; onChange: (w: number) => void }) {
  const { bound } = store.settings.value;
  const w = store.weights.value[id] ?? 0;
  const label = name.slice(0, 60);
  return (
    <li class="slider">
      <span class="slider-name"><Name text={name} most={40} /></span>
      <input
        type="range" min={-bound} max={bound} step={0.01} value={w} aria-label={`Weight of ${label}`} class={w < 0 ? "negative" : ""}
        style={{ "--from": `${50 + Math.min(0, (50 * w) / bound)}%`, "--to": `${50 + Math.max(0, (50 * w) / bound)}%` }}
        onInput={(e) => onChange(Number(e.currentTarget.value))} onDblClick={() => onChange(0)}
      />
      <input
        type="number" min={-bound} max={bound} step={0.05} value={Number(w.toFixed(3))} aria-label={`Weight of ${label}, as a number`}
        onChange={(e) => onChange(Math.max(-bound, Math.min(bound, Number(e.currentTarget.value) || 0)))}
      />
    </li>
  );
}

function Answer() {
  const m = store.mixed.value;
  const rows = usable.value;
  const engine = store.engine.value;
  return (
    <div class="answer">
      {engine.state === "loading" && store.mode.value === "local" && <p class="muted">{engine.what} … {Math.round(100 * engine.share)} %</p>}
      {m?.problem && <Banner kind="bad">{m.problem}</Banner>}
      {rows.length === 0 && <p class="muted">Add examples to the task to see the objective here.</p>}
      {rows.length > 0 && (
        <dl class={`figures ${m?.scoring ?? true ? "stale" : ""}`} aria-busy={m?.scoring ?? true}>
          <div class="figure"><dt>Objective</dt><dd class="big">{digits(m?.objective)}</dd></div>
          <div class="figure"><dt>Base alone</dt><dd>{digits(m?.zero?.objective)}</dd></div>
          <div class="figure"><dt>Loss</dt><dd>{digits(m?.loss)}</dd></div>
          {rows.some((r) => r.held) && <div class="figure"><dt>Held out</dt><dd>{digits(m?.heldOut)}</dd></div>}
        </dl>
      )}
      {m && m.examples.length === rows.length && rows.length > 0 && <Losses />}
      <Field label="Try a prompt"><input value={store.prompt.value} onInput={(e) => (store.prompt.value = e.currentTarget.value)} /></Field>
      <output class={`generated ${m?.writing ? "stale" : ""}`} aria-label="What the mixture answers" aria-busy={m?.writing ?? false}>
        {m?.text ? <bdi>{m.text}</bdi> : <span class="muted">{m?.writing ? "…" : "The mixture's answer appears here."}</span>}
      </output>
    </div>
  );
}

/** Losses has a bar for each example, beside what the base alone has. */
function Losses() {
  const m = store.mixed.value;
  const before = m?.zero?.examples ?? [];
  const most = Math.max(0.1, ...before, ...(m?.examples ?? []));
  return (
    <ul class="losses" aria-label="Loss of each example">
      {usable.value.slice(0, 12).map((row, i) => {
        const [now = NaN, was = NaN] = [m?.examples[i], before[i]];
        return (
          <li key={row.id} class={row.held ? "held" : ""}>
            <span class="losses-name"><Name text={row.output} most={24} /></span>
            <span class="track" aria-hidden="true"><i class="was" style={{ width: `${(100 * was) / most}%` }} /><i class="now" style={{ width: `${(100 * now) / most}%` }} /></span>
            <span class="losses-value">{digits(now, 2)}</span>
          </li>
        );
      })}
    </ul>
  );
}
