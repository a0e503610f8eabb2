import { readdirSync, readFileSync, writeFileSync } from "node:fs";
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

// The server replaces the placeholder with a fresh nonce in each answer of index.html.
export default defineConfig({
  plugins: [react(), packed()],
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
