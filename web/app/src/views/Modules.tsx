// Step 2: which modules take part, and composing them by hand.
import { useState } from "preact/hooks";
import type { ModuleInfo } from "../domain";
import { go } from "../route";
import { stopSuggesting, suggest } from "../state/mixer";
import { loadModules } from "../state/session";
import { chosenModules, store, usable } from "../state/store";
import { Banner, Button, count, Empty, Field, Name } from "../ui/parts";
import { Mixer } from "./Mixer";

const shownAtOnce = 200;

export function Modules() {
  return (
    <>
      <h1 tabIndex={-1}>Choose modules</h1>
      <p class="lead">Each module is a skill that somebody trained: a small change to the base model. Choose those that may help, and try mixing them by hand.</p>
      <div class="split">
        <List />
        <Mixer />
      </div>
    </>
  );
}

function List() {
  const mode = store.mode.value;
  const all = store.modules.value[mode];
  const chosen = new Set(store.chosen.value[mode]);
  const [query, setQuery] = useState("");
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = all.filter((m) => words.every((w) => `${m.name} ${m.task} ${m.author} ${m.base}`.toLowerCase().includes(w)));
  const { loading, problem } = store.modulesState.value;
  const choose = (ids: string[]) => (store.chosen.value = { ...store.chosen.value, [mode]: ids });
  const sample = (n: number) => choose(shuffled(found).slice(0, n).map((m) => m.id));
  const several = Math.min(8, found.length);
  return (
    <section class="card" aria-labelledby="list">
      <div class="card-head">
        <h2 id="list">Modules <span class="muted">{chosenModules.value.length} of {all.length} chosen</span></h2>
      </div>
      <Field label="Search by name, task or author"><input type="search" value={query} onInput={(e) => setQuery(e.currentTarget.value)} /></Field>
      <Suggest />
      <div class="row wrap">
        <Button kind="quiet" onClick={() => choose(found.map((m) => m.id))}>{query ? "Choose these" : "Choose all"}</Button>
        <Button kind="quiet" onClick={() => sample(several)} disabled={several === 0}>Sample {several}</Button>
        <Button kind="quiet" disabled={chosen.size === 0} onClick={() => choose([])}>None</Button>
      </div>
      {mode === "server" && problem && <Banner kind="bad">{problem} <Button onClick={() => void loadModules()}>Try again</Button></Banner>}
      {mode === "server" && !store.session.value && <Banner kind="info">Sign in to see the server's modules. <Button onClick={() => (store.signingIn.value = true)}>Sign in</Button></Banner>}
      {all.length === 0 && !loading && !problem && store.session.value && (
        <Empty title="No modules yet">Upload some in the <a href="/library" onClick={(e) => { e.preventDefault(); go("/library"); }}>library</a>.</Empty>
      )}
      <ul class="modules" aria-busy={loading}>
        {found.slice(0, shownAtOnce).map((m) => (
          <ModuleRow key={m.id} module={m} chosen={chosen.has(m.id)} onChange={(yes) => choose(yes ? [...chosen, m.id] : [...chosen].filter((id) => id !== m.id))} />
        ))}
      </ul>
      {found.length > shownAtOnce && <p class="muted">The first {shownAtOnce} of {found.length}: search to see others.</p>}
      {found.length === 0 && all.length > 0 && <p class="muted">No module has these words.</p>}
      <div class="row end"><Button kind="main" disabled={chosenModules.value.length === 0} onClick={() => go("/search")}>{chosenModules.value.length === 0 ? "Next: search" : `Next: search with ${count(chosenModules.value.length, "module")}`}</Button></div>
    </section>
  );
}

/** Suggest is one button, so that focus stays where it is when it comes to mean the opposite. */
function Suggest() {
  const share = store.suggesting.value;
  const nothing = usable.value.every((r) => r.held) || store.modules.value[store.mode.value].length === 0;
  return (
    <div class="suggest">
      <Button busy={share !== null} disabled={share === null && nothing} onClick={() => (share === null ? void suggest(8) : stopSuggesting())}>
        {share === null ? "Suggest for my task" : `Trying each${share > 0 ? ` ${Math.round(100 * share)} %` : ""} … cancel`}
      </Button>
      {usable.value.length > 0 && <span class="hint">Tries each module alone on your examples and chooses those that help most.</span>}
      {usable.value.length === 0 && <span class="hint">There are no examples to try modules on. <Button kind="quiet" onClick={() => go("/")}>Add examples</Button></span>}
    </div>
  );
}

function ModuleRow({ module: m, chosen, onChange }: { module: ModuleInfo; chosen: boolean; onChange: (yes: boolean) => void }) {
  return (
    <li>
      <label class="module">
        <input type="checkbox" checked={chosen} onChange={(e) => onChange(e.currentTarget.checked)} />
        <span class="module-name"><Name text={m.name} /></span>
        <span class="module-facts muted">
          {m.task && !m.name.endsWith(m.task) && <Name text={m.task} most={60} />}
          <span>rank {m.rank}</span>
          {m.author && <Name text={m.author} most={40} />}
        </span>
      </label>
    </li>
  );
}

/** shuffled draws an order; nothing depends on it but what is proposed to the user. */
function shuffled<T>(list: T[]): T[] {
  const all = [...list];
  for (let i = all.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [all[i], all[j]] = [all[j] as T, all[i] as T];
  }
  return all;
}
