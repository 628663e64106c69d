import { writeFileSync } from "node:fs";
import { join } from "node:path";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";
import { sourceDigest } from "./sourceDigest.ts";

// the package's default entry is its development build, which is larger
const ROUTER = join(import.meta.dirname, "node_modules/react-router/dist/production");
const STATIC = join(import.meta.dirname, "../static");

/** Records what the build was made from, so that a stale build is found without Node. */
function recordSource(): Plugin {
  return {
    name: "record-source",
    apply: "build",
    closeBundle() {
      const record = { source_sha256: sourceDigest(import.meta.dirname) };
      writeFileSync(join(STATIC, "build.json"), `${JSON.stringify(record, null, 2)}\n`);
    },
  };
}

export default defineConfig({
  plugins: [react(), recordSource()],
  resolve: { alias: { "react-router": join(ROUTER, "index.mjs") } },
  build: {
    outDir: STATIC,
    emptyOutDir: true,
    target: "es2022",
    cssTarget: ["chrome123", "firefox121", "safari17.5"],
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rollupOptions: {
      output: {
        entryFileNames: "assets/app-[hash].js",
        chunkFileNames: "assets/[name]-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
      },
    },
  },
  server: { proxy: { "/v1": "http://127.0.0.1:8000" } },
});
