// Answers that come bit by bit: JSON lines and server-sent events, read from fetch, because EventSource sends no token.
import { Fault, faultOf } from "../domain";

/** lines yields the lines of a body, without their ends. */
export async function* lines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for await (const chunk of body) {
      const all = (rest + decoder.decode(chunk, { stream: true })).split(/\r\n|\n|\r(?!$)/);
      rest = all.pop() ?? "";
      yield* all;
    }
  } catch (e) {
    throw faultOf(e).code === "canceled" ? e : new Fault("offline", "The connection broke before the whole answer had come.");
  }
  if (rest !== "") {
    yield rest;
  }
}

export interface ServerEvent {
  id: string;
  type: string;
  data: string;
}

/** events yields the server-sent events of a body (HTML standard, section 9.2). */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  let id = "";
  let type = "";
  let data: string[] = [];
  for await (const line of lines(body)) {
    if (line === "") {
      if (data.length > 0) {
        yield { id, type: type || "message", data: data.join("\n") };
      }
      type = "";
      data = [];
      continue;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "id") {
      id = value;
    } else if (name === "event") {
      type = value;
    } else if (name === "data") {
      data.push(value);
    }
  }
}
