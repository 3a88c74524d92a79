import { useState } from "preact/hooks";
import { faultOf } from "../domain";
import { signIn } from "../state/session";
import { store } from "../state/store";
import { Banner, Button, Dialog, Field } from "../ui/parts";

export function SignIn() {
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (e: Event) => {
    e.preventDefault();
    setBusy(true);
    setProblem("");
    try {
      await signIn(token);
    } catch (e) {
      const { code, message } = faultOf(e);
      setProblem(code === "unauthenticated" ? `The server does not take this token: ${message}.` : message);
    }
    setBusy(false);
  };
  return (
    <Dialog title={store.expired.value ? "Sign in again" : "Sign in"} onClose={() => (store.signingIn.value = false)}>
      <form onSubmit={(e) => void submit(e)}>
        <p class="muted">
          Paste a token or an API key. <code>medley serve</code> prints a token when it starts for the first time. It is kept in this tab only, and sent to no
          other server.
        </p>
        <Field label="Token or API key">
          <input
            type="password" autocomplete="off" spellcheck={false} required autofocus value={token} placeholder="eyJ… or mdl_…"
            onInput={(e) => setToken(e.currentTarget.value)}
          />
        </Field>
        {problem && <Banner kind="bad">{problem}</Banner>}
        <div class="row end">
          <Button onClick={() => (store.signingIn.value = false)}>Not now</Button>
          <Button kind="main" type="submit" busy={busy} disabled={busy || token.trim() === ""}>Sign in</Button>
        </div>
      </form>
    </Dialog>
  );
}
