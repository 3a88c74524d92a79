// A result as a page shows it: of a search in the page, and of a job.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Example } from "../domain";
import type { Output, Point, Prediction } from "../search/output";
import type { Run } from "../state/store";
import { Banner, Button, count, digits, Name } from "../ui/parts";

interface Props {
  output: Output;
  title: string;
  targets: Example[];
  words: Run["words"];
  /** What can be done with the result. */
  children: ComponentChildren;
}

export function OutputView({ output: o, title, targets, words, children }: Props) {
  return (
    <>
      <section class="card headline">
        <p class="overline"><Name text={title || "Result"} /></p>
        <p class="verdict">{verdict(o)}</p>
        <p class="muted">
          {count(o.evaluations, "evaluation")} in {count(o.rounds, "round")} by <Name text={o.optimizer} most={40} />, {o.search_seconds.toFixed(1)} s of search on{" "}
          <Name text={o.backend} most={40} />. {endings[o.stopped] ?? `It ended: ${o.stopped}.`}
        </p>
        {(o.warnings ?? []).map((w) => <Banner key={w} kind="info"><Name text={w} most={600} /></Banner>)}
        <Points output={o} />
      </section>
      {children}
      <div class="split">
        <Weights output={o} />
        <Words words={words} examples={targets} />
      </div>
      <Predictions title="Your examples" list={o.few ?? []} />
      <Predictions title="Examples that nothing was chosen by" list={o.eval ?? []} total={o.eval_examples} />
    </>
  );
}

const endings: Record<string, string> = {
  budget: "It ended with its budget.", converged: "The optimizer had nothing more to try.", canceled: "It was stopped early.", failed: "The optimizer failed before the end.",
};

function verdict(o: Output): string {
  const { zero_shot: before, composed: after } = o;
  const percent = (v: number) => `${Math.round(v)} %`;
  if (typeof before?.accuracy === "number" && typeof after?.accuracy === "number") {
    const how = after.accuracy > before.accuracy ? "raises" : after.accuracy < before.accuracy ? "lowers" : "leaves";
    return how === "leaves"
      ? `Composing leaves accuracy on ${count(o.eval_examples, "new example")} at ${percent(after.accuracy)}.`
      : `Composing ${how} accuracy on ${count(o.eval_examples, "new example")} from ${percent(before.accuracy)} to ${percent(after.accuracy)}.`;
  }
  const few = o.few ?? [];
  const right = (of: (p: Prediction) => boolean) => few.filter(of).length;
  if (few.length > 0) {
    return `The base model gets ${right((p) => p.before_right)} of your ${few.length} examples right, the composition ${right((p) => p.after_right)}.`;
  }
  return `The loss on your examples goes from ${digits(before?.loss)} to ${digits(after?.loss)}.`;
}

function Points({ output: o }: { output: Output }) {
  const points: [string, Point | null][] = [["Base model alone", o.zero_shot], ["Best single module", o.best_single], ["Composition", o.composed]];
  const held = points.some(([, p]) => typeof p?.heldout === "number");
  const accuracy = points.some(([, p]) => typeof p?.accuracy === "number");
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Comparison">
      <table>
        <thead><tr><th scope="col"><span class="unseen">Weights</span></th><th scope="col">Objective</th><th scope="col">Loss</th>{held && <th scope="col">Held out</th>}{accuracy && <th scope="col">Accuracy</th>}</tr></thead>
        <tbody>
          {points.map(([name, p]) => p && (
            <tr key={name} class={p === o.composed ? "main" : ""}>
              <th scope="row">{name}{p.module && <span class="muted"> <Name text={p.module} most={40} /></span>}</th>
              <td>{digits(p.objective)}</td><td>{digits(p.loss)}</td>{held && <td>{digits(p.heldout)}</td>}{accuracy && <td>{typeof p.accuracy === "number" ? `${p.accuracy.toFixed(0)} %` : "–"}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Weights({ output: o }: { output: Output }) {
  const all = o.modules.map((name, i) => ({ name, w: o.composed?.weights[i] ?? 0 }));
  const used = all.filter((m) => Math.abs(m.w) >= 0.0005).sort((a, b) => Math.abs(b.w) - Math.abs(a.w)).slice(0, 60);
  const most = Math.abs(used[0]?.w ?? 1);
  const signed = used.some((m) => m.w < 0); // else zero is at the left, and bars have the whole width
  const bar = (w: number) => {
    const width = `${((signed ? 50 : 100) * Math.abs(w)) / most}%`;
    return signed ? { width, [w < 0 ? "right" : "left"]: "50%" } : { width, left: "0" };
  };
  return (
    <section class="card" aria-labelledby="weights">
      <h2 id="weights">Weights</h2>
      <ul class="weights">
        {used.map((m) => (
          <li key={m.name}>
            <span class="weights-name"><Name text={m.name} most={40} /></span>
            <span class={`axis ${signed ? "" : "positive"}`} aria-hidden="true"><i class={m.w < 0 ? "negative" : ""} style={bar(m.w)} /></span>
            <span class="weights-value">{(m.w > 0 ? "+" : "") + digits(m.w)}</span>
          </li>
        ))}
      </ul>
      {used.length < all.length && <p class="muted">{count(all.length - used.length, "other module")} at weight 0.</p>}
    </section>
  );
}

/** Words shows how likely each token of the targets is, before and after, as colour. */
function Words({ words, examples }: { words: Run["words"]; examples: Example[] }) {
  const [after, setAfter] = useState(true);
  const [all, setAll] = useState(false);
  if (!words) {
    return null;
  }
  const logProbs = (after ? words.after : words.before).logProbs;
  let at = 0;
  const groups = examples.slice(0, all ? most.examples : shownAtFirst).map((e, i) => {
    const texts = words.texts?.[i];
    const n = words.counts[i] ?? 0;
    const slice = logProbs.slice(at, at + n);
    at += n;
    return { e, count: n, tokens: slice.slice(0, most.tokens).map((p, j) => ({ text: texts?.[j], p: Math.exp(p) })) };
  });
  return (
    <section class="card" aria-labelledby="words">
      <div class="card-head">
        <h2 id="words">How sure of each token</h2>
        <fieldset class="segments small">
          <legend class="unseen">Which model</legend>
          <label><input type="radio" name="words" checked={!after} onChange={() => setAfter(false)} /><span>Before</span></label>
          <label><input type="radio" name="words" checked={after} onChange={() => setAfter(true)} /><span>Composed</span></label>
        </fieldset>
      </div>
      <p class="muted">The probability of each token of the right answer. Darker is less likely.</p>
      <ul class="words">
        {groups.map(({ e, count, tokens }, i) => (
          <li key={i}>
            <span class="words-target"><Name text={e.output} most={40} /></span>
            <span class="words-tokens">
              {tokens.map((t, j) => (
                <span key={j} class="token" style={{ "--doubt": String(Math.round(100 * (1 - t.p))) }} title={`probability ${digits(t.p)}`}>
                  {t.text === undefined ? j + 1 : <Piece text={t.text} last={j === count - 1} />}
                  <small>{Math.round(100 * t.p)} %</small>
                </span>
              ))}
              {tokens.length < count && <span class="muted">and {count - tokens.length} more</span>}
            </span>
          </li>
        ))}
      </ul>
      {examples.length > shownAtFirst && <Button kind="quiet" onClick={() => setAll(!all)}>{all ? "Show fewer" : `Show ${examples.length > most.examples ? "more" : `all ${examples.length}`}`}</Button>}
    </section>
  );
}

/** Piece is a token's text. One that has none is the end, a part of a character that a later token completes, or unknown to the tokenizer. */
function Piece({ text, last }: { text: string; last: boolean }) {
  if (text === "") {
    return <em>{last ? "end" : "·"}</em>;
  }
  return text.trim() === "" ? <em>{text.includes("\n") ? "line" : "space"}</em> : <Name text={text} most={24} />;
}

const shownAtFirst = 12; // examples of a list

const most = { examples: 100, tokens: 64 }; // tiles that a page can show and somebody can read

function Predictions({ title, list, total = list.length }: { title: string; list: Prediction[]; total?: number }) {
  const [all, setAll] = useState(false);
  if (list.length === 0) {
    return null;
  }
  const shown = all ? list : list.slice(0, shownAtFirst);
  return (
    <section class="card" aria-label={title}>
      <h2>{title} <span class="muted">{list.filter((p) => p.before_right).length} right before, {list.filter((p) => p.after_right).length} after, of {list.length < total ? `the first ${list.length} of ${total}` : list.length}</span></h2>
      <div class="scroll" tabIndex={0} role="region" aria-label={`${title}: answers`}>
        <table class="predictions">
          <thead><tr><th scope="col">Input</th><th scope="col">Wanted</th><th scope="col">Base alone</th><th scope="col">Composed</th></tr></thead>
          <tbody>
            {shown.map((p, i) => (
              <tr key={i}>
                <td><Name text={p.input} most={200} />{p.held_out && <span class="tag">held out</span>}</td>
                <td><Name text={p.target} most={200} /></td>
                <td><Answer text={p.before} right={p.before_right} /></td>
                <td><Answer text={p.after} right={p.after_right} /></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {list.length > shownAtFirst && <Button kind="quiet" onClick={() => setAll(!all)}>{all ? "Show fewer" : `Show all ${list.length}`}</Button>}
    </section>
  );
}

function Answer({ text, right }: { text: string; right: boolean }) {
  return (
    <span class={right ? "right" : "wrong"}>
      <span aria-hidden="true">{right ? "✓" : "✗"}</span><span class="unseen">{right ? "right: " : "wrong: "}</span> <Name text={text || "(nothing)"} most={200} />
    </span>
  );
}
