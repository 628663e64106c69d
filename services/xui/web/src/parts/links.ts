import type { ComponentRef } from "../api/client";
import { signMark } from "../format";
import { writeLike } from "./query";

type Named = Pick<ComponentRef, "layer" | "index"> & { sign?: number };

export function componentPath(snapshot: string, ref: Named): string {
  const sign = ref.sign === -1 ? "?sign=-1" : "";
  return `/s/${encodeURIComponent(snapshot)}/c/${encodeURIComponent(ref.layer)}/${ref.index}${sign}`;
}

export const snapshotPath = (snapshot: string): string => `/s/${encodeURIComponent(snapshot)}`;

export function likePath(snapshot: string, ref: Named): string {
  const like = writeLike({ layer: ref.layer, index: ref.index, sign: ref.sign === -1 ? -1 : 1 });
  return `${snapshotPath(snapshot)}?${new URLSearchParams({ like })}`;
}

/** `conv_head · 12 · −`; the sign only where a layer has both. */
export function componentName(ref: Named, signed: boolean): string {
  return `${ref.layer} · ${ref.index}${signed ? ` · ${signMark(ref.sign ?? 1)}` : ""}`;
}
