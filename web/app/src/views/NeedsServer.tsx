import type { ComponentChildren } from "preact";
import { store } from "../state/store";
import { Button, Empty } from "../ui/parts";

/** NeedsServer shows what is there for those who are signed in. */
export function NeedsServer({ what, children }: { what: string; children: ComponentChildren }) {
  if (store.session.value) {
    return <>{children}</>;
  }
  return (
    <section class="card">
      <Empty title={`Sign in to see your ${what}`}>
        They are kept at the server. <Button kind="main" onClick={() => (store.signingIn.value = true)}>Sign in</Button>
      </Empty>
    </section>
  );
}
