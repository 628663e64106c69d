import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const FOLDERS = ["src", "public"];
const FILES = ["index.html", "package.json", "package-lock.json", "sourceDigest.ts", "tsconfig.json", "vite.config.ts"];

/** sha256 over the names and contents of all files that the build depends on; tests/xui/test_build.py has its twin. */
export function sourceDigest(root: string): string {
  const inFolders = FOLDERS.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !/\.test\.tsx?$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1).replaceAll("\\", "/")),
  );
  const total = createHash("sha256");
  for (const name of [...FILES, ...inFolders].sort()) {
    const content = createHash("sha256").update(readFileSync(join(root, name))).digest("hex");
    total.update(`${name} ${content}\n`);
  }
  return total.digest("hex");
}
