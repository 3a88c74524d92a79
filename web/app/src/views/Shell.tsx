// The frame of every view: steps, where it runs, who is signed in, messages.
import { go, path, type Path } from "../route";
import { engine, restart } from "../state/compute";
import { signOut } from "../state/session";
import { activeRun, dismiss, store, type Theme } from "../state/store";
import { focusTitle } from "../ui/focus";
import { Button } from "../ui/parts";
import { Jobs } from "./Jobs";
import { Library } from "./Library";
import { Modules } from "./Modules";
import { Plugins } from "./Plugins";
import { Result } from "./Result";
import { Search } from "./Search";
import { SignIn } from "./SignIn";
import { Task } from "./Task";

const steps: [Path, string][] = [["/", "Task"], ["/modules", "Modules"], ["/search", "Search"], ["/result", "Result"]];
const lists: [Path, string][] = [["/jobs", "Jobs"], ["/library", "Library"], ["/plugins", "Plugins"]];

const views: Record<Path, () => preact.JSX.Element> = {
  "/": Task, "/modules": Modules, "/search": Search, "/result": Result, "/jobs": Jobs, "/library": Library, "/plugins": Plugins,
};

export function Shell() {
  const View = views[path.value];
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); focusTitle(); }}>Skip to the content</a>
      <header class="top">
        <Link to="/" class="brand">
          <svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="8" /><path d="M8 21v-6M16 24V8M24 21v-9" /></svg>
          <span>Medley</span>
        </Link>
        <nav class="steps" aria-label="Steps">
          <ol>{steps.map(([to, label], i) => <Step key={to} to={to} label={label} number={i + 1} />)}</ol>
        </nav>
        <nav class="lists" aria-label="Lists">
          <ul>{lists.map(([to, label]) => <li key={to}><Link to={to} class="list-link">{label}</Link></li>)}</ul>
        </nav>
        <div class="top-end">
          <Where />
          <Account />
          <ThemeButton />
        </div>
      </header>
      {store.expired.value && (
        <div class="strip" role="alert">
          Your token has expired. Your work is here, and nothing is lost.
          <Button kind="main" onClick={() => (store.signingIn.value = true)}>Sign in again</Button>
        </div>
      )}
      <main id="main"><View /></main>
      <Foot />
      <Notices />
      <div class="unseen" role="status" aria-live="polite">{store.spoken.value}</div>
      {store.signingIn.value && <SignIn />}
    </>
  );
}

export function Link({ to, class: name, children }: { to: Path; class?: string; children: preact.ComponentChildren }) {
  return (
    <a
      href={to} class={name} aria-current={path.value === to ? "page" : undefined}
      onClick={(e) => {
        if (!e.ctrlKey && !e.metaKey && !e.shiftKey) {
          e.preventDefault();
          go(to);
        }
      }}
    >
      {children}
    </a>
  );
}

/** Step shows that something happens behind it. */
function Step({ to, label, number }: { to: Path; label: string; number: number }) {
  const working = to === "/search" && activeRun.value && activeRun.value.state !== "paused";
  return (
    <li>
      <Link to={to} class="step">
        <span class="step-number" aria-hidden="true">{number}</span>
        {label}
        {working && <span class="pulse"><span class="unseen"> (a search is running)</span></span>}
      </Link>
    </li>
  );
}

function Where() {
  const mode = store.mode.value;
  return (
    <fieldset class="segments">
      <legend class="unseen">Where it runs</legend>
      <label><input type="radio" name="mode" checked={mode === "local"} onChange={() => (store.mode.value = "local")} /><span>This page</span></label>
      <label>
        <input
          type="radio" name="mode" checked={mode === "server"}
          onClick={(e) => {
            if (!store.session.value) {
              e.preventDefault();
              store.signingIn.value = true;
            }
          }}
          onChange={() => store.session.value && (store.mode.value = "server")}
        />
        <span>Server</span>
      </label>
    </fieldset>
  );
}

function Account() {
  return store.session.value ? (
    <Button kind="quiet" onClick={signOut}>Sign out</Button>
  ) : (
    <Button kind="quiet" onClick={() => (store.signingIn.value = true)}>Sign in</Button>
  );
}

const next: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
const faces: Record<Theme, string> = { auto: "◐", light: "○", dark: "●" };

function ThemeButton() {
  const theme = store.theme.value;
  return (
    <Button kind="quiet" class="icon" aria-label={`Colours: ${theme}. Change to ${next[theme]}.`} title={`Colours: ${theme}`} onClick={() => (store.theme.value = next[theme])}>
      {faces[theme]}
    </Button>
  );
}

/** Foot says where forward passes run and how fast that is. */
function Foot() {
  const e = store.engine.value;
  const local = store.mode.value === "local";
  return (
    <footer class="foot">
      {!local && <span>Forward passes run at the server{store.base.value ? <>, on the base <bdi>{store.base.value}</bdi></> : null}.</span>}
      {local && e.state === "idle" && (
        <span>Nothing has to leave this page: the engine (2 MB) and a tiny model (8 MB) load when you need them. <Button kind="quiet" onClick={() => void engine().catch(() => undefined)}>Load now</Button></span>
      )}
      {local && e.state === "loading" && <span>{e.what} … {Math.round(100 * e.share)} %</span>}
      {local && e.state === "ready" && (
        <span><strong>{e.info.backend}</strong>{e.info.device ? <> on <bdi>{e.info.device}</bdi></> : null}: {e.info.rate.toFixed(0)} evaluations a second, measured here.</span>
      )}
      {local && e.state === "ready" && (
        <details class="why">
          <summary>Why {e.info.backend}?</summary>
          <p>{e.info.reason}</p>
          <ul>
            {e.info.candidates.map((c) => (
              <li key={c.name}><strong>{c.name}</strong>{c.device && <> on <bdi>{c.device}</bdi></>}: {c.error || (c.gflops > 0 ? `${c.gflops.toFixed(1)} GFLOP/s` : "passed its test")}{c.chosen ? ", taken" : ""}
                {!c.chosen && c.name !== "reference" && <Button kind="quiet" disabled={activeRun.value !== undefined} onClick={() => void restart(c.name).catch(() => undefined)}>Use {c.name}</Button>}
              </li>
            ))}
          </ul>
          <Button kind="quiet" disabled={activeRun.value !== undefined} onClick={() => void restart("auto").catch(() => undefined)}>Test them all again</Button>
        </details>
      )}
      {local && e.state === "failed" && <span>The engine did not start: {e.message} <Button kind="quiet" onClick={() => void engine().catch(() => undefined)}>Try again</Button></span>}
      <a href="/docs">API</a>
    </footer>
  );
}

function Notices() {
  return (
    <div class="notices" role="log" aria-label="Messages">
      {store.notices.value.map((n) => (
        <div key={n.id} class={`notice ${n.kind}`} role={n.kind === "bad" ? "alert" : undefined}>
          <span>{n.message}</span>
          <Button kind="quiet" aria-label="Dismiss" onClick={() => dismiss(n.id)}>✕</Button>
        </div>
      ))}
    </div>
  );
}
