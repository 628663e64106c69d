import { useEffect } from "react";
import { Problem } from "../api/problem";

export interface Chosen {
  base64: string;
  preview: string;
  name: string;
}

const TYPES = ["image/png", "image/jpeg", "image/webp"];
const LARGEST = 32 * 2 ** 20;
export const ACCEPTED = TYPES.join(",");

/** Pictures chosen in this tab; addresses carry only their key, so a reload forgets them. */
const kept = new Map<string, Chosen>();

export const pictureOf = (key: string | null): Chosen | undefined => (key === null ? undefined : kept.get(key));

const refused = (detail: string) =>
  new Problem({
    title: "UnsafePicture",
    status: 0,
    detail,
    remedy: "Choose a PNG, JPEG or WebP picture of at most 32 MB and 50 megapixels.",
    field: "picture",
  });

/** Keep a picture for searching and tell its key. */
export async function keepPicture(file: File): Promise<string> {
  if (!TYPES.includes(file.type)) throw refused(`${file.name} is not a PNG, JPEG or WebP picture.`);
  if (file.size > LARGEST) throw refused(`${file.name} is larger than 32 MB.`);
  const bytes = await file.arrayBuffer();
  const key = fingerprint(new Uint8Array(bytes));
  const preview = URL.createObjectURL(file);
  kept.set(key, { base64: await base64Of(file), preview, name: file.name });
  return key;
}

/** FNV-1a: equal pictures share an address and so a cached answer; nothing depends on its strength. */
function fingerprint(bytes: Uint8Array): string {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return `${(hash >>> 0).toString(16).padStart(8, "0")}-${bytes.length}`;
}

function base64Of(file: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(",", 2)[1] ?? "");
    reader.onerror = () => reject(refused("The file cannot be read."));
    reader.readAsDataURL(file);
  });
}

/** Take pictures that are dropped on the page or pasted into it. */
export function useDroppedPictures(take: (file: File) => void, hovering: (over: boolean) => void): void {
  useEffect(() => {
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const over = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      hovering(true);
    };
    const leave = (event: DragEvent) => {
      if (event.relatedTarget === null) hovering(false);
    };
    const drop = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      hovering(false);
      const file = event.dataTransfer?.files[0];
      if (file) take(file);
    };
    const paste = (event: ClipboardEvent) => {
      const file = [...(event.clipboardData?.files ?? [])][0];
      if (!file) return;
      event.preventDefault();
      take(file);
    };
    window.addEventListener("dragover", over);
    window.addEventListener("dragleave", leave);
    window.addEventListener("drop", drop);
    window.addEventListener("paste", paste);
    return () => {
      window.removeEventListener("dragover", over);
      window.removeEventListener("dragleave", leave);
      window.removeEventListener("drop", drop);
      window.removeEventListener("paste", paste);
    };
  }, [take, hovering]);
}
