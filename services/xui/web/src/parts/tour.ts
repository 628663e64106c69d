import { useSyncExternalStore } from "react";
import type { Snapshot } from "../api/client";
import { componentPath, snapshotPath } from "./links";
import { steerPath } from "./steer";

export interface Stop {
  title: string;
  text: string;
  /** The page, and what on it is pointed at: a CSS selector. */
  to: string;
  at: string;
}

/** The stops of the tour, along one snapshot from the question to the signature; without what the role may not do. */
export function stopsAlong(snapshot: Snapshot, steers: boolean): Stop[] {
  const path = snapshotPath(snapshot.name);
  const layer = snapshot.layers.at(-1)!.name;
  const predict = new URLSearchParams({ model: snapshot.model.name, dataset: snapshot.dataset.name, sample: "0" });
  return [
    { title: "Snapshots", to: "/", at: ".tiles", text: "A snapshot holds what every component of a model responds to, on one dataset. It never changes, so links and findings stay true." },
    { title: "Search by meaning", to: path, at: ".searchrow", text: "Write what you look for, send a picture, or take a component: what responds to it comes back, best first. Press / to get here." },
    {
      title: "One component",
      to: componentPath(snapshot.name, { layer, index: 0, sign: 1 }),
      at: ".gallery",
      text: "The pictures that activate it most, examples along its whole range, its labels and how far they hold, and its neighbours. Where this comes from leads back to weights and pictures.",
    },
    { title: "The map", to: `${path}/map?layout=pca`, at: "canvas", text: "Every component, close where meanings are close. Colour it, select a region, share the view by its address." },
    { title: "Why this prediction?", to: `/predict?${predict}`, at: "h1", text: "Maps of several methods side by side, each with its quality, and the components behind one output." },
    ...(steers ? [{ title: "What if?", to: steerPath(snapshot.model.id, layer, [0]), at: "h1", text: "Take components out, scale or add them, and see what becomes of a prediction, or of a text." }] : []),
    { title: "Audits", to: "/audits", at: "h1", text: "Write down what a model may rest on. An audit judges each component by it, shows the evidence, and waits for a signature." },
    { title: "Analysis sessions", to: "/sessions", at: "h1", text: "Keep what you find, with others at once: pins, notes and every look, to replay, branch and export." },
  ];
}

const KEY = "xsys.tour";
const listeners = new Set<() => void>();
const subscribe = (listener: () => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};
const stored = () => sessionStorage.getItem(KEY);

/** Go to a stop; null ends the tour. It outlives a reload of the page. */
export function goTo(stop: number | null): void {
  if (stop === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, String(stop));
  for (const listener of listeners) listener();
}

/** The number of the stop that is shown; null outside of the tour. */
export function useStop(): number | null {
  const text = useSyncExternalStore(subscribe, stored);
  return text !== null && /^\d{1,2}$/.test(text) ? Number(text) : null;
}
