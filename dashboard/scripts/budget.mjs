// What the browser loads before the log is shown, gzipped; fails when it grows over the budget.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const root = new URL("../../src/postroom/dashboard/static/", import.meta.url).pathname;
const assets = join(root, "assets");
const size = (name) => gzipSync(readFileSync(join(assets, name)), { level: 9 }).length / 1000;
// The API's interactive pages are no part of the dashboard.
const names = readdirSync(assets).filter((name) => /^(?!swagger-ui-).*\.(js|css)$/.test(name));
const imports = (name) =>
  [
    ...readFileSync(join(assets, name), "utf8").matchAll(
      /(?:from|import)\s*["']\.\/([^"']+\.js)["']/g,
    ),
  ].map((m) => m[1]);

function reached(start) {
  const seen = new Set();
  const queue = [start];
  while (queue.length) {
    const name = queue.pop();
    if (seen.has(name)) continue;
    seen.add(name);
    queue.push(...imports(name));
  }
  return seen;
}

const entry = /assets\/([^"]+\.js)"/.exec(readFileSync(join(root, "index.html"), "utf8"))[1];
const log = names.find((name) => /^Logs-.*\.js$/.test(name));
const first = new Set([...reached(entry), ...reached(log)]);
const sum = (list) => [...list].reduce((total, name) => total + size(name), 0);
const rows = [
  ["entry with what it imports", sum(reached(entry)), 215],
  ["first load of the log", sum(first), 250],
  ["style sheets of the entry", sum(names.filter((name) => /^index-.*\.css$/.test(name))), 45],
  ...names
    .filter((name) => name.endsWith(".js") && !first.has(name))
    .map((name) => [`chunk ${name}`, size(name), 200]),
];
const over = rows.filter(([, kb, most]) => kb > most);
for (const [what, kb, most] of rows.slice(0, 3))
  console.log(`${what}: ${kb.toFixed(0)} kB of ${most}`);
for (const [what, kb, most] of over)
  console.error(`Over the budget: ${what}, ${kb.toFixed(0)} kB of ${most}.`);
process.exit(over.length ? 1 : 0);
