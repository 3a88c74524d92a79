// The server's modules: one's own and the shared ones.
import { useState } from "preact/hooks";
import { faultOf, type ModuleInfo } from "../domain";
import { download } from "../state/download";
import { client, loadModules, remove } from "../state/session";
import { notify, store } from "../state/store";
import { tidy } from "../text";
import { Banner, Button, Confirm, Empty, Field, Name, size } from "../ui/parts";
import { Upload } from "../ui/Upload";
import { NeedsServer } from "./NeedsServer";

export function Library() {
  const all = store.modules.value.server;
  const { loading, problem } = store.modulesState.value;
  const [query, setQuery] = useState("");
  const found = all.filter((m) => `${m.name} ${m.task} ${m.author} ${m.base}`.toLowerCase().includes(query.toLowerCase()));
  return (
    <>
      <h1 tabIndex={-1}>Library</h1>
      <p class="lead">LoRA modules at the server: yours, and those that others share.</p>
      <NeedsServer what="modules">
        <section class="card" aria-labelledby="upload">
          <h2 id="upload">Upload a module</h2>
          <Upload
            path="/v1/modules" type="application/zip" accept=".zip" label="Drop a zip archive, or choose one" onDone={() => void loadModules()}
            hint="adapter_config.json and adapter_model.safetensors, as PEFT saves them" fields={[{ name: "task", label: "Task" }, { name: "author", label: "Author" }, { name: "licence", label: "Licence (SPDX)" }]}
          />
        </section>
        {problem && <Banner kind="bad">{problem} <Button onClick={() => void loadModules()}>Try again</Button></Banner>}
        {all.length === 0 && !loading && !problem && <Empty title="No modules yet">The first one is yours to upload.</Empty>}
        {all.length > 0 && <Field label="Search"><input type="search" value={query} onInput={(e) => setQuery(e.currentTarget.value)} /></Field>}
        <ul class="items" aria-busy={loading}>{found.slice(0, 300).map((m) => <ModuleItem key={m.id} module={m} />)}</ul>
      </NeedsServer>
    </>
  );
}

function ModuleItem({ module: m }: { module: ModuleInfo }) {
  const [asking, setAsking] = useState(false);
  const fetch = async () => {
    try {
      download(`${m.name.replaceAll("/", "-").slice(0, 80)}.zip`, await client.blob(`/v1/modules/${m.id}/archive`), "application/zip");
    } catch (e) {
      notify("bad", faultOf(e).message);
    }
  };
  const label = tidy(m.name.slice(0, 60));
  return (
    <li class="card item">
      <div class="row spread wrap">
        <strong><Name text={m.name} /></strong>
        <span class="row">
          <Button kind="quiet" onClick={() => void fetch()}>Download<span class="unseen"> {label}</span></Button>
          {m.mine && <Button kind="quiet" onClick={() => setAsking(true)}>Delete<span class="unseen"> {label}</span></Button>}
        </span>
      </div>
      <p class="facts muted">
        {m.task && <Name text={m.task} />}<span>rank {m.rank}</span><span>{size(m.size)}</span>{m.base && <Name text={m.base} most={60} />}{m.author && <Name text={m.author} most={60} />}{m.licence && <Name text={m.licence} most={40} />}
      </p>
      {asking && (
        <Confirm
          title="Delete this module?" action="Delete it" onNo={() => setAsking(false)}
          onYes={() => {
            setAsking(false);
            void remove(`/v1/modules/${m.id}`, label).then((gone) => (gone ? loadModules() : undefined));
          }}
        >
          <Name text={m.name} /> goes for good. Adapters that were composed of it stay.
        </Confirm>
      )}
    </li>
  );
}
