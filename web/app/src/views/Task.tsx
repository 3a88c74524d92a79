// Step 1: the examples that say what the model should do.
import { useState } from "preact/hooks";
import { zooTasks } from "../compute/local";
import type { Row } from "../domain";
import { go } from "../route";
import { notify, store, usable } from "../state/store";
import { add, addBlank, addEval, change, clear, pick, removeRow } from "../state/task";
import { askTokens, hereKey, uncounted } from "../state/tokens";
import { mistakes, parse, type Parsed } from "../task/parse";
import { Banner, Button, count, Drop, Field } from "../ui/parts";

export function Task() {
  const task = store.task.value;
  return (
    <>
      <h1 tabIndex={-1}>What should the model learn?</h1>
      <p class="lead">
        Show it a few examples. Medley then mixes skills that others have already trained – small add-ons called LoRA modules – into one that does your
        task. Nothing is trained: a search tries mixtures and keeps the best.
      </p>
      <Idea />
      <section class="card" aria-labelledby="start">
        <h2 id="start">Start from a task</h2>
        <p class="muted">New here? Pick one: nine small tasks that none of the built-in modules was trained on.</p>
        <div class="chips">
          {zooTasks().map((name) => (
            <button key={name} type="button" class="chip" aria-pressed={task.name === name} onClick={() => void pick(name)}>{name.replaceAll("_", " ")}</button>
          ))}
        </div>
        <Bring />
      </section>
      {task.rows.length > 0 && <Examples />}
    </>
  );
}

/** Idea is the method in a picture: modules on the left, weights, one adapter. */
function Idea() {
  const weights: [string, number][] = [["plural", 78], ["past tense", 0], ["pick fruit", 34], ["french", 12]];
  return (
    <figure class="idea">
      <ol>
        <li>
          <span class="idea-title">A few examples</span>
          <span class="idea-body mono"><span>one berry , several</span><span class="arrow" role="img" aria-label="gives">→</span><strong>berries</strong></span>
          <span class="idea-body">Five are enough. Hold one or two out to see whether it generalizes.</span>
        </li>
        <li>
          <span class="idea-title">One weight per shared module</span>
          <span class="idea-body bars">
            {weights.map(([name, w]) => <span key={name} class="idea-bar"><span>{name}</span><i style={{ width: `${w}%` }} /></span>)}
          </span>
        </li>
        <li>
          <span class="idea-title">One adapter that does your task</span>
          <span class="idea-body mono"><span>one knee , several</span><span class="arrow" role="img" aria-label="gives">→</span><strong>knees</strong></span>
          <span class="idea-body">A file of yours, which PEFT loads like any LoRA.</span>
        </li>
      </ol>
    </figure>
  );
}

function Bring() {
  const [text, setText] = useState("");
  const [last, setLast] = useState<Parsed>();
  const take = (from: string, name = "") => {
    const parsed = parse(from);
    setLast(parsed);
    add(parsed, name);
    return parsed;
  };
  return (
    <details class="bring">
      <summary>Bring your own examples</summary>
      <div class="two">
        <div>
          <Field label="Paste examples" hint="One a line: input => output, input and output with a tab between, or JSON lines.">
            <textarea rows={5} value={text} onInput={(e) => setText(e.currentTarget.value)} placeholder={'one berry , several => berries\n{"input": "one knee , several", "output": "knees"}'} />
          </Field>
          <Button
            disabled={text.trim() === ""}
            onClick={() => {
              if (take(text).mistakes.length === 0) {
                setText("");
              }
            }}
          >
            Add them
          </Button>
        </div>
        <Drop
          label="Drop a JSONL file, or choose one" accept=".jsonl,.json,.txt,.tsv" hint='{"input": "…", "output": "…"} on each line'
          onFile={(file) => void file.text().then((t) => take(t, file.name.replace(/\.[a-z]+$/i, "")))}
        />
      </div>
      {last && last.mistakes.length > 0 && (
        <Banner kind="bad">
          {count(last.examples.length, "example")} added; {count(last.mistakes.length, "line")} left out:
          <ul>{last.mistakes.slice(0, 5).map((m) => <li key={m.line}>line {m.line}: {m.message}</li>)}</ul>
        </Banner>
      )}
      <Button kind="quiet" onClick={addBlank}>Or write one by hand</Button>
    </details>
  );
}

function Examples() {
  const { rows, eval: evaluation, name } = store.task.value;
  const wrong = mistakes(rows);
  const held = rows.filter((r) => r.held).length;
  const ready = usable.value.some((r) => !r.held);
  return (
    <section class="card" aria-labelledby="examples">
      <div class="card-head">
        <h2 id="examples">Examples <span class="muted">{count(rows.length - held, "example")} to search with{held > 0 ? `, ${held} held out` : ""}</span></h2>
        <div class="row">
          <Button kind="quiet" onClick={addBlank}>Add a row</Button>
          <Button kind="quiet" onClick={clear}>Clear</Button>
        </div>
      </div>
      <Field label="Name of the task"><input class="short" value={name} maxLength={200} onInput={(e) => (store.task.value = { ...store.task.value, name: e.currentTarget.value })} /></Field>
      <Counting />
      <ol class={`rows ${rows.some((r) => store.tokens.value.has(hereKey(r))) ? "counted" : ""}`}>
        {rows.map((row, i) => <ExampleRow key={row.id} row={row} number={i + 1} mistake={wrong[i] ?? ""} />)}
      </ol>
      <Evaluation total={evaluation.length} />
      <div class="row end"><Button kind="main" disabled={!ready} onClick={() => go("/modules")}>Next: choose modules</Button></div>
    </section>
  );
}

/** Counting says how token counts come: the page's once its engine is here, the server's when they are asked for or a session is opened. */
function Counting() {
  const [busy, setBusy] = useState(false);
  const { value: mode } = store.mode;
  if (mode === "server" && (!store.session.value || store.modules.value.server.length === 0)) {
    return null;
  }
  if (mode === "local" ? store.engine.value.state !== "idle" : uncounted().length === 0) {
    return null;
  }
  const ask = async () => {
    setBusy(true);
    await askTokens();
    setBusy(false);
  };
  return (
    <p class="muted">
      {mode === "local" ? "Token counts appear beside each row once the engine is loaded." : "The server counts the tokens of rows when you ask, and when modules are tried on them."}{" "}
      <Button kind="quiet" busy={busy} disabled={busy} onClick={() => void ask()}>Count tokens</Button>
    </p>
  );
}

function ExampleRow({ row, number, mistake }: { row: Row; number: number; mistake: string }) {
  const tokens = store.tokens.value.get(hereKey(row));
  const problem = mistake ? `This row ${mistake}.` : tokens?.warning ? `Too long for the model: ${tokens.warning}.` : "";
  return (
    <li class={`example ${row.held ? "held" : ""}`}>
      <span class="example-number" aria-hidden="true">{number}</span>
      <input aria-label={`Input of example ${number}`} placeholder="input" value={row.input} onInput={(e) => change(row.id, { input: e.currentTarget.value })} />
      <span class="arrow" aria-hidden="true">→</span>
      <input
        aria-label={`Output of example ${number}`} placeholder="output" value={row.output} aria-invalid={mistake !== ""}
        aria-describedby={problem ? `problem-${row.id}` : undefined} onInput={(e) => change(row.id, { output: e.currentTarget.value })}
      />
      <span class="example-tokens muted" title="tokens of the input and of the output">{tokens ? `${tokens.input} + ${tokens.output} tokens` : ""}</span>
      <label class="toggle"><input type="checkbox" checked={row.held} onChange={(e) => change(row.id, { held: e.currentTarget.checked })} /><span>Hold out<span class="unseen"> example {number}</span></span></label>
      <Button kind="quiet" class="icon" aria-label={`Remove example ${number}`} onClick={() => removeRow(row.id)}>✕</Button>
      {problem && <span class="example-problem" id={`problem-${row.id}`}>{problem}</span>}
    </li>
  );
}

/** Evaluation takes examples that nothing is chosen by. */
function Evaluation({ total }: { total: number }) {
  return (
    <details class="bring">
      <summary>{total > 0 ? `${count(total, "more example")} to measure accuracy on` : "Measure accuracy on more examples"}</summary>
      <p class="muted">They are never searched with: the result tells how many of them the composed adapter gets right.</p>
      <Drop
        label="Drop a JSONL file, or choose one" accept=".jsonl,.json,.txt,.tsv" hint="up to 2,000 examples"
        onFile={(file) => void file.text().then((t) => {
          const parsed = parse(t);
          addEval(parsed);
          notify(parsed.mistakes.length > 0 ? "bad" : "good", `${count(parsed.examples.length, "example")} added, ${count(parsed.mistakes.length, "line")} left out.`);
        })}
      />
      {total > 0 && <Button kind="quiet" onClick={() => (store.task.value = { ...store.task.value, eval: [] })}>Remove them</Button>}
    </details>
  );
}
