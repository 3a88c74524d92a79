// Small parts of views.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { tidy } from "../text";

/** Name shows a text that comes from anyone: as text, in its own direction, cut where it is too long to read. */
export function Name({ text, most = 80 }: { text: string; most?: number }) {
  const shown = tidy(text);
  const letters = [...shown.slice(0, 4 * most)];
  const cut = letters.length > most || shown.length > 4 * most;
  return (
    <bdi class="name" title={cut ? [...shown.slice(0, 2000)].join("") : undefined}>
      {cut ? letters.slice(0, most - 1).join("") + "…" : shown}
    </bdi>
  );
}

interface ButtonProps extends Omit<JSX.IntrinsicElements["button"], "disabled" | "onClick"> {
  kind?: "main" | "plain" | "quiet" | "bad";
  busy?: boolean;
  disabled?: boolean;
  onClick?: () => void;
}

/** Button keeps focus when it is disabled, which the attribute of that name would not. */
export function Button({ kind = "plain", busy = false, disabled = false, onClick, ...rest }: ButtonProps) {
  return (
    <button
      type="button" {...rest} class={`button ${kind} ${typeof rest.class === "string" ? rest.class : ""}`} aria-busy={busy || undefined} aria-disabled={disabled || undefined}
      onClick={(e) => (disabled ? e.preventDefault() : onClick?.())}
    />
  );
}

export function Progress({ label, share }: { label: string; share: number }) {
  const percent = Math.round(100 * Math.min(1, Math.max(0, share)));
  return (
    <div class="progress" role="progressbar" aria-label={label} aria-valuenow={percent} aria-valuemin={0} aria-valuemax={100}>
      <div style={{ width: `${percent}%` }} />
    </div>
  );
}

/** Banner is a message in place. */
export function Banner({ kind, children }: { kind: "good" | "bad" | "info" | "wait"; children: ComponentChildren }) {
  return (
    <div class={`banner ${kind}`} role={kind === "bad" ? "alert" : "status"}>
      {children}
    </div>
  );
}

/** Drop takes files that are dropped or chosen. */
export function Drop({ label, accept, hint, onFile }: { label: string; accept: string; hint: string; onFile: (file: File) => void }) {
  const [over, setOver] = useState(false);
  return (
    <label
      class={`drop ${over ? "over" : ""}`}
      onDragOver={(e) => {
        e.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(e) => {
        e.preventDefault();
        setOver(false);
        const file = e.dataTransfer?.files[0];
        file && onFile(file);
      }}
    >
      <input
        type="file" accept={accept} class="unseen"
        onChange={(e) => {
          const file = e.currentTarget.files?.[0];
          e.currentTarget.value = "";
          file && onFile(file);
        }}
      />
      <span class="drop-label">{tidy(label)}</span>
      <span class="muted">{hint}</span>
    </label>
  );
}

/** Dialog is a modal dialog; Escape and its close button call onClose. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const opener = document.activeElement;
    const { current } = dialog;
    current?.showModal();
    return () => {
      current?.close(); // while it is open, nothing outside can have focus
      if (opener instanceof HTMLElement) {
        opener.focus();
      }
    };
  }, []);
  return (
    <dialog
      ref={dialog} aria-label={title}
      onCancel={(e) => {
        e.preventDefault();
        onClose();
      }}
    >
      <header class="dialog-head">
        <h2>{title}</h2>
        <Button kind="quiet" aria-label="Close" onClick={onClose}>✕</Button>
      </header>
      {children}
    </dialog>
  );
}

/** Confirm asks before what cannot be undone. */
export function Confirm({ title, action, onYes, onNo, children }: { title: string; action: string; onYes: () => void; onNo: () => void; children: ComponentChildren }) {
  return (
    <Dialog title={title} onClose={onNo}>
      <p>{children}</p>
      <div class="row end">
        <Button onClick={onNo}>Keep it</Button>
        <Button kind="bad" onClick={onYes}>{action}</Button>
      </div>
    </Dialog>
  );
}

export function Empty({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      <div class="muted">{children}</div>
    </div>
  );
}

/** Field is a labelled control. */
export function Field({ label, hint, children }: { label: string; hint?: string; children: ComponentChildren }) {
  return (
    <label class="field">
      <span class="field-label">{label}</span>
      {children}
      {hint && <span class="hint">{hint}</span>}
    </label>
  );
}

/** digits writes a number as tables have it; what is none is a dash. */
export function digits(v: number | null | undefined, places = 3): string {
  return v === null || v === undefined || !Number.isFinite(v) ? "–" : v.toFixed(places).replace("-", "−");
}

export function size(bytes: number): string {
  return bytes < 1e5 ? `${Math.ceil(bytes / 1e3)} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

export function count(n: number, noun: string): string {
  return `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
}
