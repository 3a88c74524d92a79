// Optimizers that are plugins: the server's, and those that this browser keeps.
import { useEffect, useState } from "preact/hooks";
import type { Schemas } from "../api/client";
import { faultOf } from "../domain";
import { go } from "../route";
import type { KeptPlugin } from "../state/persist";
import { forgetPlugin, choosePlugin } from "../state/plugin";
import { client, remove } from "../state/session";
import { activeRun, store } from "../state/store";
import { tidy } from "../text";
import { Banner, Button, Confirm, Empty, Name, size } from "../ui/parts";
import { Upload } from "../ui/Upload";
import { NeedsServer } from "./NeedsServer";

type Plugin = Schemas["Plugin"];

export function Plugins() {
  const session = store.session.value;
  const [list, setList] = useState<Plugin[]>();
  const [problem, setProblem] = useState("");
  const load = async () => {
    setProblem("");
    try {
      setList(await client.all<Plugin>("/v1/plugins"));
    } catch (e) {
      setProblem(faultOf(e).message);
    }
  };
  useEffect(() => {
    if (session) {
      void load();
    }
  }, [session?.token]);
  return (
    <>
      <h1 tabIndex={-1}>Plugins</h1>
      <p class="lead">Optimizers of your own, as WebAssembly, for jobs at the server. To try one here, drop it in the search.</p>
      <NeedsServer what="plugins">
        <section class="card" aria-labelledby="upload">
          <h2 id="upload">Upload a plugin</h2>
          <Upload
            path="/v1/plugins" type="application/wasm" accept=".wasm" label="Drop a .wasm file, or choose one" hint="the server tests it before it takes it; medley plugin new begins one"
            onDone={() => void load()}
          />
        </section>
        {problem && <Banner kind="bad">{problem} <Button onClick={() => void load()}>Try again</Button></Banner>}
        {list?.length === 0 && <Empty title="No plugins yet">The built-in optimizers need none.</Empty>}
        <ul class="items">{list?.map((p) => <PluginItem key={p.id} plugin={p} onGone={() => void load()} />)}</ul>
      </NeedsServer>
      <Kept />
    </>
  );
}

/** Kept is what was dropped in the search: this browser keeps it. */
function Kept() {
  const list = store.keptPlugins.value;
  return (
    <section class="kept" aria-labelledby="kept">
      <h2 id="kept">In this browser</h2>
      <p class="muted">Files that you dropped in the search. The last eight are kept here, and no server sees them.</p>
      {list.length === 0 && <p class="muted">None yet.</p>}
      <ul class="items">{list.map((p) => <KeptItem key={p.sha256} plugin={p} />)}</ul>
    </section>
  );
}

function KeptItem({ plugin: p }: { plugin: KeptPlugin }) {
  const [asking, setAsking] = useState(false);
  const busy = activeRun.value !== undefined;
  const label = tidy(p.name.slice(0, 60));
  return (
    <li class="card item">
      <div class="row spread wrap">
        <strong><Name text={p.name} /></strong>
        <span class="row">
          <Button kind="quiet" disabled={busy} onClick={() => void choosePlugin(p.sha256).then((found) => found && go("/search"))}>Search with it<span class="unseen"> {label}</span></Button>
          <Button kind="quiet" disabled={busy} onClick={() => setAsking(true)}>Forget<span class="unseen"> {label}</span></Button>
        </span>
      </div>
      <p class="facts muted">{p.version && <Name text={p.version} most={40} />}<span>{size(p.size)}</span><Name text={p.file} most={60} /><span class="mono">{p.sha256.slice(0, 16)}</span></p>
      {asking && (
        <Confirm title="Forget this plugin?" action="Forget it" onNo={() => setAsking(false)} onYes={() => { setAsking(false); void forgetPlugin(p.sha256); }}>
          <Name text={p.name} /> is deleted from this browser. Searches that were run with it cannot go on without its file.
        </Confirm>
      )}
    </li>
  );
}

function PluginItem({ plugin: p, onGone }: { plugin: Plugin; onGone: () => void }) {
  const [asking, setAsking] = useState(false);
  const label = tidy(p.name.slice(0, 60));
  return (
    <li class="card item">
      <div class="row spread wrap">
        <strong><Name text={p.name} /></strong>
        {p.mine && <Button kind="quiet" onClick={() => setAsking(true)}>Delete<span class="unseen"> {label}</span></Button>}
      </div>
      <p class="facts muted"><Name text={p.version} most={40} /><span>{size(p.size)}</span><span>{p.visibility}</span><span class="mono">{tidy(p.digest.slice(0, 16))}</span></p>
      {asking && (
        <Confirm
          title="Delete this plugin?" action="Delete it" onNo={() => setAsking(false)}
          onYes={() => {
            setAsking(false);
            void remove(`/v1/plugins/${p.id}`, label).then((gone) => gone && onGone());
          }}
        >
          <Name text={p.name} /> goes for good. Jobs that name it fail.
        </Confirm>
      )}
    </li>
  );
}
