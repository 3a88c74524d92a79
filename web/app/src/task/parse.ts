// Examples as people bring them: JSON lines as the command line reads them, or one example a line with a separator.
import type { Example } from "../domain";

export interface Parsed {
  examples: Example[];
  /** What was wrong, by line. */
  mistakes: { line: number; message: string }[];
}

const most = { lines: 1000, bytes: 8 << 20 };

/** parse reads JSON lines, or lines of "input => output" or of input, tab, output. Lines that are wrong are told and left out. */
export function parse(text: string): Parsed {
  if (text.length > most.bytes) {
    return { examples: [], mistakes: [{ line: 0, message: `is longer than ${most.bytes >> 20} MiB` }] };
  }
  const parsed: Parsed = { examples: [], mistakes: [] };
  for (const [i, raw] of text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/).entries()) {
    const line = raw.trim();
    if (line === "") {
      continue;
    }
    if (parsed.examples.length >= most.lines) {
      parsed.mistakes.push({ line: i + 1, message: `more than ${most.lines} examples; the rest is left out` });
      break;
    }
    const example = line.startsWith("{") ? fromJSON(line) : fromText(raw);
    if (typeof example === "string") {
      parsed.mistakes.push({ line: i + 1, message: example });
    } else {
      parsed.examples.push(example);
    }
  }
  return parsed;
}

function fromJSON(line: string): Example | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return "is not JSON";
  }
  const { input, output } = value as Record<string, unknown>;
  for (const [name, field] of [["input", input], ["output", output]] as const) {
    if (typeof field !== "string") {
      return field === undefined ? `${name} is missing` : `${name} is not a string`;
    }
    if (!field.isWellFormed()) {
      return `${name} holds half of a surrogate pair, which is no character`;
    }
  }
  return { input: input as string, output: output as string };
}

function fromText(line: string): Example | string {
  const at = /\t| => | → /.exec(line);
  if (!at) {
    return 'has no output: write "input => output", or JSON';
  }
  return { input: line.slice(0, at.index).trim(), output: line.slice(at.index + at[0].length).trim() };
}

const limits = { input: 32768, output: 8192 };

/** mistakes says what is wrong with each row; "" is nothing. */
export function mistakes(rows: Example[]): string[] {
  const seen = new Map<string, number>();
  return rows.map(({ input, output }, i) => {
    const first = seen.get(input);
    seen.set(input, first ?? i);
    if (output.trim() === "") {
      return input.trim() === "" ? "is empty" : "the output is blank: there is nothing to learn from";
    }
    if (input.length > limits.input || output.length > limits.output) {
      return `is too long: an input has up to ${limits.input} characters, an output ${limits.output}`;
    }
    if (first !== undefined) {
      return `has the input of row ${first + 1}`;
    }
    return "";
  });
}

/** worthless tells the mistakes that keep a row out of a search. */
export function worthless({ input, output }: Example): boolean {
  return output.trim() === "" || input.length > limits.input || output.length > limits.output;
}

/** jsonl writes examples as the command line reads them. */
export function jsonl(examples: Example[]): string {
  return examples.map(({ input, output }) => JSON.stringify({ input, output }) + "\n").join("");
}
