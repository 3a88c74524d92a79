// What may pass by itself is waited for: a server that cannot be reached or is busy, a token that has expired.
import { effect } from "@preact/signals";
import { Fault, faultOf } from "../domain";
import { store, type Trouble } from "./store";

const passing: Record<string, string> = {
  offline: "The server cannot be reached. Nothing is lost; this goes on by itself when it is back.",
  unavailable: "The server is not ready. Nothing is lost; this goes on by itself when it is.",
  timeout: "The server took too long. Nothing is lost; this tries again by itself.",
  rate_limited: "The server asks to slow down. This goes on by itself in a moment.",
  unauthenticated: "Your token has expired. Sign in again to go on; nothing is lost.",
};

const longest = 8; // seconds between tries

/** patient repeats work until it succeeds or fails for good. told hears why it waits, and null when it goes on. */
export async function patient<T>(work: () => Promise<T>, signal: AbortSignal, told: (trouble: Trouble | null) => void): Promise<T> {
  let troubled = false;
  for (let tries = 0; ; tries++) {
    try {
      const result = await work();
      if (troubled) {
        told(null);
      }
      return result;
    } catch (e) {
      const fault = faultOf(e);
      const message = passing[fault.code];
      if (message === undefined || signal.aborted) {
        throw e;
      }
      troubled = true;
      told({ code: fault.code, message });
      await (fault.code === "unauthenticated" ? signedIn(signal) : pause(Math.max(fault.retryAfter, Math.min(longest, 2 ** tries / 2)), signal));
    }
  }
}

/** signedIn waits for a token that was not refused. */
function signedIn(signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = effect(() => {
      if (store.session.value && !store.expired.value) {
        queueMicrotask(() => stop());
        resolve();
      }
    });
    signal.addEventListener("abort", () => {
      stop();
      reject(new Fault("canceled", "was canceled"));
    });
  });
}

/** pause waits for seconds, or until the browser says that there is a network again. */
function pause(seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", end);
      resolve();
    };
    const timer = setTimeout(end, 1000 * seconds);
    addEventListener("online", end);
    signal.addEventListener("abort", () => {
      end();
      reject(new Fault("canceled", "was canceled"));
    });
  });
}
