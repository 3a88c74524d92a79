import { describe, expect, test } from "vitest";
import { events } from "../src/api/stream";
import { correct, l1, tokenMean, value } from "../src/compute/objective";
import { unzip } from "../src/compute/zip";
import { search, type Judge } from "../src/search/loop";
import type { Asking } from "../src/search/optimizer";
import { trace } from "../src/search/trace";
import { Latest } from "../src/state/latest";
import { link, text, unlink, untext } from "../src/state/persist";
import { tidy } from "../src/text";
import { defaultSettings, type Evaluation } from "../src/domain";
import { jsonl, mistakes, parse } from "../src/task/parse";

describe("examples", () => {
  test.each([
    ['{"input": "a", "output": "b"}\n\n{"input":"c","output":"d","more":1}', [["a", "b"], ["c", "d"]], []],
    ["\uFEFFa => b\r\nc\td", [["a", "b"], ["c", "d"]], []],
    ['{"input": "a"}\n{"input": 1, "output": "b"}\n{oops\nnothing', [], ["output is missing", "input is not a string", "is not JSON", "has no output"]],
    ['{"input": "\\ud800", "output": "b"}', [], ["half of a surrogate pair"]],
  ])("%j", (from, examples, wrong) => {
    const parsed = parse(from);
    expect(parsed.examples).toEqual(examples.map(([input, output]) => ({ input, output })));
    expect(parsed.mistakes).toHaveLength(wrong.length);
    wrong.forEach((message, i) => expect(parsed.mistakes[i]?.message).toContain(message));
    expect(parse(jsonl(parsed.examples)).examples).toEqual(parsed.examples);
  });

  test("mistakes are told by row", () => {
    const rows = [{ input: "a", output: "b" }, { input: "a", output: "c" }, { input: "d", output: " " }, { input: "", output: "" }];
    expect(mistakes(rows)).toEqual(["", "has the input of row 1", expect.stringContaining("blank"), "is empty"]);
  });
});

test("objectives are those of package shared/task", () => {
  const [losses, tokens, weights] = [[1, 3], [1, 3], [0.5, -1.5]];
  expect(tokenMean(losses, tokens)).toBe(2.5);
  expect(value({ name: "sparse", penalty: 0.05 }, losses, tokens, weights)).toBeCloseTo(2.6, 12);
  expect(value({ name: "mean", penalty: 0.05 }, losses, tokens, weights)).toBeCloseTo(2.55, 12);
  expect(value({ name: "lorahub", penalty: 0.05 }, losses, tokens, weights)).toBeCloseTo(1.3, 12);
  expect(l1({ name: "mean", penalty: 0.05 }, 2)).toBe(0.025);
  expect(tokenMean([], [])).toBeNaN();
  expect(correct(" Knees. ", "knees")).toBe(true);
  expect(correct("knee", "knees")).toBe(false);
});

const evaluation = (fields: Partial<Evaluation>): Evaluation => ({
  number: 1, round: 1, roundSize: 1, weights: [0.1], objective: 1, loss: 1, best: 1, heldOut: NaN, examples: [1], logProbs: [-1], ...fields,
});

test("a trace brings back every number", () => {
  const odd = [0.1, -0, 1e-300, 5e-324, 1 / 3];
  const problem = { dim: 5, lower: [], upper: [], budget: 1, batch: 1, seed: 9007199254740991, l1: 0.05, groups: [1] };
  const [header, line] = trace(problem, 'a "name"', {}, [evaluation({ weights: odd, objective: NaN, loss: Infinity })]).split("\n").map((l) => l && JSON.parse(l));
  expect(header).toMatchObject({ medley_trace: 1, optimizer: 'a "name"', problem: { seed: "9007199254740991" } });
  expect(line.weights.map((v: number, i: number) => Object.is(v, odd[i]))).not.toContain(false);
  expect(line).toMatchObject({ objective: null, loss: "inf" });
});

test("what is kept brings back every number, and a link everything but secrets", async () => {
  const odd = { a: [NaN, Infinity, -Infinity, -0, 0.1], b: { n: "text" } };
  expect(untext(text(odd))).toEqual(odd);
  const shared = {
    mode: "local" as const, base: "", task: { name: "<b>", rows: [{ id: 1, input: "a", output: "b", held: true }], eval: [] }, chosen: ["plural"],
    weights: { plural: 0.5 }, prompt: "p", settings: defaultSettings, run: null,
  };
  expect(await unlink(await link(shared))).toEqual(shared);
  await expect(unlink("AAAA")).rejects.toThrow();
  await expect(unlink(await link({ ...shared, chosen: [1] } as never))).rejects.toThrow("not one of this page's");
});

test("events come whole, however their bytes are cut", async () => {
  const stream = "retry: 2000\n\nid: 1\nevent: state\ndata: {\"a\":1}\n\n:\n\nid: 2\r\ndata: x\r\ndata: y\r\n\r\n";
  for (const size of [1, 2, 3, 7, 1000]) {
    const bytes = new TextEncoder().encode(stream);
    const body = new ReadableStream<Uint8Array>({
      start(c) {
        for (let i = 0; i < bytes.length; i += size) {
          c.enqueue(bytes.slice(i, i + size));
        }
        c.close();
      },
    });
    const heard = [];
    for await (const e of events(body)) {
      heard.push(e);
    }
    expect(heard).toEqual([{ id: "1", type: "state", data: '{"a":1}' }, { id: "2", type: "message", data: "x\ny" }]);
  }
});

test("texts of others do not turn what is around them", () => {
  expect(tidy("\u202e\u2066drowssap\u202d abc\n\u2028.wasm")).toBe("drowssap abc  .wasm");
  expect(tidy("שלום, café 𝕏")).toBe("שלום, café 𝕏");
});

test("what is no archive is refused", async () => {
  await expect(unzip(new Uint8Array(100))).rejects.toThrow("archive");
  await expect(unzip(new Uint8Array(0))).rejects.toThrow("archive");
});

/** counting asks for 1, 2, 3, …, two at a time. */
function counting(told: number[]): Asking {
  let next = 0;
  return {
    info: () => ({ name: "counting", version: "", wantsAux: false, maxDim: 0, preferredBatch: 0 }),
    ask: async (n) => Array.from({ length: Math.min(2, n) }, () => [++next]),
    tell: async (x) => void told.push(...x.map(([v]) => v ?? 0)),
    best: async () => undefined, close: () => undefined,
  };
}

test("a search that goes on tells its record again and scores only what is new", async () => {
  const problem = { dim: 1, lower: [0], upper: [9], budget: 5, batch: 4, seed: 1, l1: 0, groups: [1] };
  const judge: Judge = { objective: { name: "sparse", penalty: 0 }, tokens: [1, 2], held: 1 };
  const run = async (seen: Evaluation[]) => {
    const [told, scored, observed]: [number[], number[], Evaluation[]] = [[], [], []];
    const ended = await search(problem, counting(told), judge, seen, {
      gate: async () => undefined,
      evaluate: async (x) => x.map(([v = 0]) => (scored.push(v), { examples: [v, 2 * v], logProbs: [-v, -v, -v] })),
      observe: (round) => observed.push(...round),
    });
    return { told, scored, observed, ended };
  };
  const whole = await run([]);
  expect(whole).toMatchObject({ told: [1, 2, 3, 4, 5], scored: [1, 2, 3, 4, 5], ended: "budget" });
  expect(whole.observed[4]).toMatchObject({ number: 5, round: 3, roundSize: 1, objective: 5, best: 1, heldOut: 10, examples: [5], logProbs: [-5] });
  const rest = await run(whole.observed.slice(0, 3)); // half a round is scored anew
  expect(rest).toMatchObject({ told: [1, 2, 3, 4, 5], scored: [3, 4, 5] });
  await expect(run([evaluation({ weights: [7] }), evaluation({ weights: [2], number: 2 })])).rejects.toThrow("recorded by another");
});

test("of answers asked meanwhile the last one comes, and none out of order", async () => {
  const latest = new Latest();
  const done: number[] = [];
  for (let i = 0; i < 10; i++) {
    latest.run(async () => {
      await new Promise((resolve) => setTimeout(resolve, 10 - i));
      done.push(i);
    });
  }
  await new Promise((resolve) => setTimeout(resolve, 60));
  expect(done).toEqual([0, 9]);
});
