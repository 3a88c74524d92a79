import { effect } from "@preact/signals";
import { render } from "preact";
import "./style/base.css";
import "./style/parts.css";
import "./style/views.css";
import { zooModules } from "./compute/local";
import { path } from "./route";
import { follow } from "./state/mixer";
import { findPlugin } from "./state/plugin";
import { applyTheme, keep, restore } from "./state/persist";
import { loadModules, watchExpiry } from "./state/session";
import { openShared } from "./state/share";
import { store } from "./state/store";
import { countTokens } from "./state/tokens";
import { keepFocus } from "./ui/focus";
import { Shell } from "./views/Shell";

restore();
store.modules.value = { ...store.modules.value, local: zooModules() };
effect(() => applyTheme(store.theme.value));
effect(() => {
  if (store.session.value && !store.expired.value) {
    void loadModules();
  }
});
keep();
countTokens();
watchExpiry();
follow(() => path.value === "/modules");
void findPlugin().then(openShared);

const root = document.getElementById("app");
if (root) {
  render(<Shell />, root);
  keepFocus(root);
}
