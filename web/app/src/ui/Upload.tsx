// An upload with its progress.
import { useRef, useState } from "preact/hooks";
import { faultOf } from "../domain";
import { client } from "../state/session";
import { notify, speak } from "../state/store";
import { Banner, Button, Drop, Field, Progress } from "./parts";

interface Props {
  path: string;
  type: string;
  accept: string;
  label: string;
  hint: string;
  /** More fields of the query than name and visibility. */
  fields?: { name: string; label: string }[];
  onDone: () => void;
}

const goodName = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$/;

export function Upload({ path, type, accept, label, hint, fields = [], onDone }: Props) {
  const [file, setFile] = useState<File>();
  const [query, setQuery] = useState<Record<string, string>>({});
  const [sent, setSent] = useState<number>();
  const [problem, setProblem] = useState("");
  const abort = useRef<AbortController>();
  const set = (name: string, v: string) => setQuery({ ...query, [name]: v });
  const name = query["name"] ?? "";
  const take = (f: File) => {
    setFile(f);
    setProblem("");
    setQuery({ ...query, name: name || f.name.replace(/\.[a-z]+$/i, "").replace(/[^A-Za-z0-9._/-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 128) });
  };
  const submit = async (e: Event) => {
    e.preventDefault();
    if (!file) {
      return;
    }
    abort.current = new AbortController();
    setProblem("");
    setSent(0);
    try {
      await client.upload(path, query, file, type, setSent, abort.current.signal);
      notify("good", `${name} is uploaded.`);
      setFile(undefined);
      setQuery({});
      onDone();
    } catch (e) {
      const { code, message } = faultOf(e);
      setProblem(code === "canceled" ? "The upload was canceled." : message);
      speak("The upload failed.");
    }
    setSent(undefined);
  };
  return (
    <form class="upload" onSubmit={(e) => void submit(e)}>
      <Drop label={file ? file.name.slice(0, 80) : label} accept={accept} hint={hint} onFile={take} />
      {file && (
        <div class="numbers">
          <Field label="Name" hint="letters, digits, . _ / -"><input required value={name} maxLength={128} aria-invalid={name !== "" && !goodName.test(name)} onInput={(e) => set("name", e.currentTarget.value)} /></Field>
          {fields.map((f) => <Field key={f.name} label={f.label}><input value={query[f.name] ?? ""} maxLength={256} onInput={(e) => set(f.name, e.currentTarget.value)} /></Field>)}
          <Field label="Who sees it">
            <select value={query["visibility"] ?? "private"} onChange={(e) => set("visibility", e.currentTarget.value)}>
              <option value="private">only me</option>
              <option value="shared">everyone here</option>
            </select>
          </Field>
        </div>
      )}
      {sent !== undefined && <Progress label="Upload" share={sent} />}
      {problem && <Banner kind="bad">{problem}</Banner>}
      {file && (
        <div class="row">
          <Button kind="main" type="submit" disabled={sent !== undefined || !goodName.test(name)}>{sent === undefined ? "Upload" : sent < 1 ? `${Math.round(100 * sent)} % …` : "Checking …"}</Button>
          {sent === undefined ? <Button onClick={() => setFile(undefined)}>Not this one</Button> : <Button onClick={() => abort.current?.abort()}>Cancel</Button>}
        </div>
      )}
    </form>
  );
}
