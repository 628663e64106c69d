import type { Model, Snapshot, SteeringRequest } from "../api/client";
import { type Case, readCase, usualLayers, writeCase } from "./predict";

export const CHANGES = ["ablate", "scale", "add", "set", "clamp"] as const;
export type Change = (typeof CHANGES)[number];
export const MOST_UNITS = 16;

/** How a change is told and how far its slider goes; `neutral` changes nothing. */
export const HOW: Record<Change, { name: string; least: number; most: number; usual: number; neutral: number | null; unit: string }> = {
  ablate: { name: "Take out", least: 0, most: 2, usual: 1, neutral: 0, unit: "× its activation" },
  scale: { name: "Scale", least: 0, most: 6, usual: 2, neutral: 1, unit: "× its activation" },
  add: { name: "Add", least: -4, most: 4, usual: 1, neutral: 0, unit: "median norms of the layer" },
  set: { name: "Set to", least: -4, most: 4, usual: 1, neutral: null, unit: "median norms of the layer" },
  clamp: { name: "Limit to", least: 0, most: 4, usual: 0.5, neutral: null, unit: "median norms of the layer" },
};
const POINTS = 13;

interface Reach {
  least: number;
  most: number;
  usual: number;
}

/** Texts fall apart where pictures only begin to change. */
const TEXT: Partial<Record<Change, Reach>> = { add: { least: -1.5, most: 1.5, usual: 0.3 }, set: { least: -1.5, most: 1.5, usual: 0.3 }, clamp: { least: 0, most: 1.5, usual: 0.3 } };

export type Medium = "picture" | "text";

export const reachOf = (how: Change, medium: Medium): Reach => (medium === "text" && TEXT[how]) || HOW[how];

/** What the steering page shows; the address is the preset, so that it can be shared. */
export interface Steering extends Case {
  units: number[];
  how: Change;
  strength: number;
  maps: boolean;
}

export function readSteering(search: URLSearchParams, medium: Medium = "picture"): Steering {
  const how = CHANGES.find((each) => each === search.get("change")) ?? (medium === "text" ? "add" : "ablate");
  const { least, most, usual } = reachOf(how, medium);
  const strength = Number(search.get("strength") ?? usual);
  const units = search.getAll("unit").filter((each) => /^\d{1,9}$/.test(each)).map(Number);
  return {
    ...readCase(search),
    units: [...new Set(units)].slice(0, MOST_UNITS),
    how,
    strength: Number.isFinite(strength) ? Math.min(most, Math.max(least, strength)) : usual,
    maps: search.get("maps") === "1",
  };
}

export function writeSteering(shown: Steering): URLSearchParams {
  const search = writeCase(shown);
  for (const unit of shown.units) search.append("unit", String(unit));
  search.set("change", shown.how);
  search.set("strength", String(shown.strength));
  if (shown.maps) search.set("maps", "1");
  return search;
}

export const steerPath = (model: string, layer: string, units: number[], rest: Record<string, string> = {}): string => {
  const search = new URLSearchParams({ model, ...rest, layer });
  for (const unit of units.slice(0, MOST_UNITS)) search.append("unit", String(unit));
  return `/steer?${search}`;
};

export const layerOf = (shown: Steering, model: Model, snapshot: Snapshot | undefined): string | undefined =>
  shown.layers[0] ?? usualLayers(model, snapshot).at(-1) ?? model.layers[0]?.name;

/** Units that are taken out or scaled are each changed by themselves; what is added or set is one direction of them all. */
export function interventionsOf(layer: string, { units, how, strength }: Pick<Steering, "units" | "how" | "strength">): SteeringRequest["interventions"] {
  const rest = { change: how, strength, unit: "norm", keep_norm: false } as const;
  if (units.length > 1 && (how === "add" || how === "set" || how === "clamp")) {
    const components = units.map((index) => ({ index, sign: 1 as const, weight: 1 }));
    return [{ target: { kind: "components", layer, components }, ...rest }];
  }
  return units.map((index) => ({ target: { kind: "component", layer, index }, ...rest }));
}

/** Strengths for the curve, from one end of the slider to the other. */
export function sweepOf(how: Change): number[] {
  const { least, most } = HOW[how];
  return Array.from({ length: POINTS }, (_, i) => Number((least + ((most - least) * i) / (POINTS - 1)).toFixed(3)));
}
