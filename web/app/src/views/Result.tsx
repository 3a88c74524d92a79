// Step 4: what came of it.
import { useState } from "preact/hooks";
import { faultOf } from "../domain";
import { go } from "../route";
import { adapterOf, download, reportOf } from "../state/download";
import { traceOf } from "../state/runs";
import { share } from "../state/share";
import { notify, shownRun, store, type Run } from "../state/store";
import { tidy } from "../text";
import { Button, Empty, Name, Progress } from "../ui/parts";
import { OutputView } from "./Output";

export function Result() {
  const run = shownRun.value;
  const done = store.runs.value.filter((r) => r.output);
  return (
    <>
      <h1 tabIndex={-1}>Result</h1>
      {done.length > 1 && (
        <label class="field short">
          <span class="field-label">Run</span>
          <select value={run?.id} onChange={(e) => (store.shown.value = e.currentTarget.value)}>
            {done.map((r) => <option key={r.id} value={r.id}>{tidy(r.title.slice(0, 80))}</option>)}
          </select>
        </label>
      )}
      {!run && <Empty title="No result yet">A search gives one. <Button onClick={() => go("/search")}>Go to the search</Button></Empty>}
      {run && !run.output && (
        <section class="card">
          <h2><Name text={run.title} /></h2>
          <p class="muted">{run.phase || "The search has no result yet."}</p>
          {run.state === "comparing" && <Progress label="Comparing" share={run.share} />}
          <Button onClick={() => go("/search")}>Go to the search</Button>
        </section>
      )}
      {run?.output && (
        <div id="result">
          <OutputView output={run.output} title={run.task.name} targets={run.task.rows} words={run.words}>
            <Downloads run={run} />
          </OutputView>
        </div>
      )}
    </>
  );
}

function Downloads({ run }: { run: Run }) {
  const [busy, setBusy] = useState("");
  const [progress, setProgress] = useState<{ what: string; share: number }>();
  const [link, setLink] = useState("");
  const name = (run.task.name || "composed").replace(/[^A-Za-z0-9_-]+/g, "-").slice(0, 60);
  const act = async (what: string, work: () => Promise<void>) => {
    setBusy(what);
    try {
      await work();
    } catch (e) {
      notify("bad", `${what} failed: ${faultOf(e).message}`);
    }
    setBusy("");
    setProgress(undefined);
  };
  return (
    <section class="card downloads" aria-labelledby="take">
      <h2 id="take">Take it with you</h2>
      <div class="row wrap">
        <Button
          kind="main" busy={busy === "The adapter"} disabled={busy !== ""}
          onClick={() => void act("The adapter", async () => download(`${name}.zip`, (await adapterOf(run, (what, share) => setProgress({ what, share }))).archive, "application/zip"))}
        >
          Download the adapter
        </Button>
        <Button onClick={() => download(`${name}.trace.jsonl`, traceOf(run), "application/jsonl")}>Trace</Button>
        <Button disabled={busy !== ""} onClick={() => void act("The report", async () => download(`${name}.html`, await reportOf(run.task.name), "text/html"))}>Report</Button>
        <Button onClick={() => void act("The link", async () => setLink(await share(run)))}>Share a link</Button>
      </div>
      {progress && <><p class="muted">{progress.what}</p><Progress label={progress.what} share={progress.share} /></>}
      <p class="hint">The adapter is a zip archive that PEFT loads once it is unpacked: <code>PeftModel.from_pretrained(base, "{name}")</code>. The trace has every evaluation; the report is one page for others to read.</p>
      {link && <label class="field"><span class="field-label">Link</span><input readOnly value={link} onFocus={(e) => e.currentTarget.select()} /></label>}
    </section>
  );
}
