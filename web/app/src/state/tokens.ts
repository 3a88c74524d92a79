// Token counts of rows: of the page's tokenizer as rows change, of the server's when a session there has told them or they are asked for.
import { effect } from "@preact/signals";
import type { Compute, Tokens } from "../compute/compute";
import { faultOf, type Example } from "../domain";
import { compute } from "./compute";
import { chosenModules, notify, store } from "./store";

const most = 200; // rows counted at once

/** tokenKey finds a row's counts: another base has another tokenizer. */
export const tokenKey = (base: string, e: Example) => [base, e.input, e.output].join("\0");

/** hereKey is tokenKey where work is done now. */
export const hereKey = (e: Example) => tokenKey(store.mode.value === "local" ? "" : store.base.value, e);

/** learnTokens keeps what was told of examples. */
export function learnTokens(doing: Compute, examples: Example[], words: Tokens[]): void {
  const next = new Map([...store.tokens.peek()].slice(-2000));
  const base = doing.kind === "local" ? "" : doing.base;
  examples.forEach((e, i) => {
    const t = words[i];
    t && next.set(tokenKey(base, e), { input: t.input, output: t.count, warning: t.warning });
  });
  store.tokens.value = next;
}

/** uncounted are the rows whose counts are not known. */
export const uncounted = () => store.task.value.rows.filter((r) => r.output !== "" && !store.tokens.value.has(hereKey(r)));

/** count asks for the counts that are not known. It throws why there are none. */
async function count(): Promise<void> {
  const mode = store.mode.peek();
  for (let before = Infinity, rows = uncounted(); rows.length > 0 && rows.length < before && mode === store.mode.peek(); ) {
    before = rows.length;
    const doing = await compute(mode);
    const module = chosenModules.peek()[0]?.id ?? store.modules.peek()[mode][0]?.id ?? "";
    const some = rows.slice(0, most);
    learnTokens(doing, some, await doing.tokens(some, module));
    rows = uncounted();
  }
}

/** askTokens is for those who want to know now; it starts the page's engine if that has to be. */
export async function askTokens(): Promise<void> {
  try {
    await count();
  } catch (e) {
    notify("bad", `The tokens could not be counted: ${faultOf(e).message}`);
  }
}

/** countTokens keeps the counts up to date in the page, a little after rows change, once the engine is here. */
export function countTokens(): void {
  let timer = 0;
  effect(() => {
    void store.task.value.rows;
    if (store.engine.value.state !== "ready" || store.mode.value !== "local") {
      return;
    }
    clearTimeout(timer);
    timer = window.setTimeout(() => void count().catch(() => undefined), 200); // they are a help; the search tells what is wrong
  });
}
