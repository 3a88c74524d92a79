// The API of edge/openapi.yaml: requests with the token, answers with their types, problems as faults.
import { Fault, faultOf } from "../domain";
import type { components } from "./schema";

export type Schemas = components["schemas"];

/** Who is asked, and with what. */
export interface Access {
  /** undefined: signed out. */
  token(): string | undefined;
  /** Told of every answer that says the token is no longer good. */
  refused(token: string): void;
}

export interface Call {
  method?: "GET" | "POST" | "DELETE";
  query?: Record<string, string | number | undefined>;
  json?: unknown;
  body?: Blob;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
}

export class Client {
  readonly #access: Access;

  constructor(access: Access) {
    this.#access = access;
  }

  /** json sends a request and reads a JSON answer. */
  async json<T>(path: string, call: Call = {}): Promise<T> {
    const response = await this.send(path, call);
    return (response.status === 204 ? undefined : await read(() => response.json())) as T;
  }

  async blob(path: string, signal?: AbortSignal): Promise<Blob> {
    const response = await this.send(path, { signal });
    return read(() => response.blob());
  }

  /** send returns an answer that is good. */
  async send(path: string, { method = "GET", query = {}, json, body, headers = {}, signal }: Call = {}): Promise<Response> {
    const token = this.#access.token();
    const all = new Headers(headers);
    if (token) {
      all.set("Authorization", `Bearer ${token}`);
    }
    if (json !== undefined) {
      all.set("Content-Type", "application/json");
    }
    const content = json !== undefined ? JSON.stringify(json) : (body ?? null);
    let response: Response;
    try {
      response = await fetch(path + search(query), { method, headers: all, body: content, signal: signal ?? null, credentials: "omit" });
    } catch (e) {
      throw faultOf(e).code === "canceled" ? e : new Fault("offline", "The server cannot be reached.");
    }
    if (!response.ok) {
      throw this.#refusal(await problemOf(response), token);
    }
    return response;
  }

  /** upload sends a body and tells how much of it has gone, which fetch cannot. */
  upload<T>(path: string, query: Call["query"], body: Blob, type: string, sent: (share: number) => void, signal: AbortSignal): Promise<T> {
    const token = this.#access.token();
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", path + search(query ?? {}));
      request.responseType = "text";
      request.setRequestHeader("Content-Type", type);
      request.setRequestHeader("Idempotency-Key", crypto.getRandomValues(new Uint32Array(4)).join("-"));
      if (token) {
        request.setRequestHeader("Authorization", `Bearer ${token}`);
      }
      request.upload.onprogress = (e) => sent(e.lengthComputable ? e.loaded / e.total : 0);
      request.onerror = () => reject(new Fault("offline", "The server cannot be reached."));
      request.onabort = () => reject(new Fault("canceled", "was canceled"));
      request.onload = () => {
        if (request.status < 300) {
          resolve(JSON.parse(request.responseText) as T);
          return;
        }
        reject(this.#refusal(problemFault(request.status, request.responseText, request.getResponseHeader("Retry-After")), token));
      };
      signal.addEventListener("abort", () => request.abort());
      request.send(body);
    });
  }

  /** all reads the pages of a list. */
  async all<T>(path: string, query: Call["query"] = {}, most = 1000, signal?: AbortSignal): Promise<T[]> {
    const items: T[] = [];
    let cursor: string | undefined;
    do {
      const page: { items: T[]; next?: string } = await this.json(path, { query: { ...query, limit: 200, cursor }, signal });
      items.push(...page.items);
      cursor = page.next;
    } while (cursor && items.length < most);
    return items;
  }

  #refusal(fault: Fault, token: string | undefined): Fault {
    if (fault.code === "unauthenticated" && token) {
      this.#access.refused(token);
    }
    return fault;
  }
}

/** read tells a connection that breaks in mid-answer from a fault of the page. */
async function read<T>(answer: () => Promise<T>): Promise<T> {
  try {
    return await answer();
  } catch (e) {
    throw faultOf(e).code === "canceled" ? e : new Fault("offline", "The connection broke before the whole answer had come.");
  }
}

function search(query: NonNullable<Call["query"]>): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== "").map(([name, value]) => [name, String(value)]);
  return pairs.length > 0 ? "?" + new URLSearchParams(pairs).toString() : "";
}

async function problemOf(response: Response): Promise<Fault> {
  return problemFault(response.status, await response.text().catch(() => ""), response.headers.get("Retry-After"));
}

/** problemFault reads a problem document (RFC 9457); something between here and the server may answer otherwise. */
function problemFault(status: number, text: string, retryAfter: string | null): Fault {
  const wait = Math.min(Number(retryAfter) || 0, 60);
  try {
    const problem = JSON.parse(text) as Schemas["Problem"];
    if (typeof problem.code === "string") {
      const sentence = problem.field ? `${problem.field}: ${problem.detail ?? problem.title}` : (problem.detail ?? problem.title);
      return new Fault(problem.code, sentence, problem.field ?? "", wait);
    }
  } catch {
    // Not a problem document: the status has to do.
  }
  const code = status === 401 ? "unauthenticated" : status === 404 ? "not_found" : status >= 502 ? "unavailable" : "internal";
  return new Fault(code, `The server answered with status ${status}.`, "", wait);
}

/** number reads a number as the API writes it: null is none, and infinities are texts. */
export function number(v: Schemas["Number"]): number {
  return v === null ? NaN : v === "inf" ? Infinity : v === "-inf" ? -Infinity : v;
}
