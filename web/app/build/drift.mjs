// Fails if src/api/schema.d.ts is not what edge/openapi.yaml makes.
import { readFileSync } from "node:fs";
import openapiTS, { astToString, COMMENT_HEADER } from "openapi-typescript";

const made = COMMENT_HEADER + astToString(await openapiTS(new URL("../../../edge/openapi.yaml", import.meta.url)));
const kept = readFileSync(new URL("../src/api/schema.d.ts", import.meta.url), "utf8");
if (made.trim() !== kept.trim()) {
  console.error("web/app/src/api/schema.d.ts is old: run `npm run generate` in web/app");
  process.exit(1);
}
