// What a user does to the task.
import { zooTask } from "../compute/local";
import { faultOf, type Example } from "../domain";
import { parse, type Parsed } from "../task/parse";
import { blankTask, notify, store } from "./store";

let ids = Date.now();
const rowOf = ({ input, output }: Example) => ({ id: ++ids, input, output, held: false });

// How often the whole task was replaced or added to: a task that is still being loaded then comes too late.
let turns = 0;

/** pick takes a task of the zoo: its five examples, and those to measure accuracy on. */
export async function pick(name: string): Promise<void> {
  const turn = ++turns;
  try {
    const files = await zooTask(name);
    if (turn !== turns) {
      return;
    }
    const few = parse(files.few).examples.slice(0, 5);
    store.task.value = { name, rows: few.map(rowOf), eval: parse(files.eval).examples };
    store.prompt.value = store.task.value.eval[0]?.input ?? few[0]?.input ?? "";
  } catch (e) {
    notify("bad", `The task could not be loaded: ${faultOf(e).message}`);
  }
}

/** add appends examples that were pasted or dropped. */
export function add(parsed: Parsed, name = ""): void {
  if (parsed.examples.length === 0) {
    return;
  }
  turns++;
  const task = store.task.value;
  const fresh = task.rows.every((r) => r.input === "" && r.output === "");
  const rows = [...(fresh ? [] : task.rows), ...parsed.examples.map(rowOf)].slice(0, 1000);
  store.task.value = { name: fresh || task.name === "" ? name || "my task" : task.name, rows, eval: task.eval };
  store.prompt.value ||= rows[0]?.input ?? "";
}

export function addEval(parsed: Parsed): void {
  store.task.value = { ...store.task.value, eval: [...store.task.value.eval, ...parsed.examples].slice(0, 2000) };
}

export function change(id: number, fields: Partial<{ input: string; output: string; held: boolean }>): void {
  const { rows } = store.task.value;
  store.task.value = { ...store.task.value, rows: rows.map((r) => (r.id === id ? { ...r, ...fields } : r)) };
}

export function removeRow(id: number): void {
  store.task.value = { ...store.task.value, rows: store.task.value.rows.filter((r) => r.id !== id) };
}

export function addBlank(): void {
  const task = store.task.value;
  store.task.value = { ...task, name: task.name || "my task", rows: [...task.rows, rowOf({ input: "", output: "" })] };
}

export function clear(): void {
  turns++;
  store.task.value = blankTask;
}
