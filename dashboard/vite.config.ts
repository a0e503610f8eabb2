import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

/** A .gz beside each text file, so that the server packs nothing itself. */
function packed(): Plugin {
  let folder = "";
  return {
    name: "packed",
    apply: "build",
    configResolved(config) {
      folder = join(config.root, config.build.outDir, config.build.assetsDir);
      if (config.build.outDir.startsWith("/"))
        folder = join(config.build.outDir, config.build.assetsDir);
    },
    closeBundle() {
      for (const name of readdirSync(folder).filter((each) => /\.(js|css|svg)$/.test(each)))
        writeFileSync(
          join(folder, `${name}.gz`),
          gzipSync(readFileSync(join(folder, name)), { level: 9 }),
        );
    },
  };
}

/** The interactive pages of the API, served by us and not by somebody's network. */
function apiPages(): Plugin {
  const find = createRequire(import.meta.url).resolve;
  const { version } = JSON.parse(readFileSync(find("swagger-ui-dist/package.json"), "utf8"));
  return {
    name: "api-pages",
    apply: "build",
    generateBundle() {
      for (const [from, ending] of [
        ["swagger-ui-bundle.js", "js"],
        ["swagger-ui.css", "css"],
      ] as const)
        this.emitFile({
          type: "asset",
          fileName: `assets/swagger-ui-${version}.${ending}`,
          source: readFileSync(find(`swagger-ui-dist/${from}`)),
        });
    },
  };
}

// The server replaces the placeholder with a fresh nonce in each answer of index.html.
export default defineConfig({
  plugins: [react(), apiPages(), packed()],
  html: { cspNonce: "__CSP_NONCE__" },
  build: {
    outDir: "../src/postroom/dashboard/static",
    emptyOutDir: true,
    assetsDir: "assets",
    // `data:` fonts and images would need more of the content security policy than we give.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    chunkSizeWarningLimit: 700,
  },
  server: { proxy: { "/api": "http://127.0.0.1:8000", "/mail-view": "http://127.0.0.1:8000" } },
});
