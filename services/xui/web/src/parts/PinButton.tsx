import { useEffect } from "react";
import type { Snapshot } from "../api/client";
import { useMay } from "../session";
import { type Pinnable, useAnalysis } from "./analysis";

export const typing = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && target.closest("input, textarea, select, [contenteditable]") !== null;

/** Keep a component in the analysis session, or let it go; `p` does the same. */
export function PinButton({ snapshot, of: ref }: { snapshot: Snapshot; of: Pinnable }) {
  const { session, pin, act, mayEdit, id } = useAnalysis();
  const may = useMay("annotate") && (id === null || mayEdit);
  const sign = ref.sign === -1 ? -1 : 1;
  const pinned = session?.state.pins?.some(
    ({ pinned: { snapshot: at, component } }) =>
      at === snapshot.id && component.layer === ref.layer && component.index === ref.index && component.sign === sign,
  );
  const toggle = () => {
    if (pinned) void act({ kind: "unpin", layer: ref.layer, index: ref.index, sign }).catch(() => undefined);
    else void pin(snapshot, ref);
  };
  useEffect(() => {
    if (!may) return;
    const listen = (event: KeyboardEvent) => {
      if (event.key !== "p" || typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      toggle();
    };
    window.addEventListener("keydown", listen);
    return () => window.removeEventListener("keydown", listen);
  });
  if (!may) return null;
  return (
    <button type="button" className="button" aria-keyshortcuts="p" aria-pressed={pinned ?? false} onClick={toggle}>
      {pinned ? "Pinned" : "Pin"}
    </button>
  );
}
