import type { Colouring, PointMap } from "./map";

/** Told apart by people of any colour vision (Okabe and Ito), in an order that keeps neighbours distinct. */
const LAYERS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a900", "#8a6fdf"];
const RAMP = ["#39568c", "#2d708e", "#20908d", "#2ab07f", "#6ccd5a", "#b8de29", "#fde725"];
export const BINS = RAMP.length;
export const MISSING = "#888888";

export const layerColour = (place: number): string => LAYERS[place % LAYERS.length]!;
export const rampColour = (bin: number): string => RAMP[bin] ?? MISSING;

/** Which bin of the ramp each component falls into, between the 2nd and the 98th percentile; -1 where undefined. */
export function binned(values: Float32Array): { bins: Int8Array; low: number; high: number } {
  const known = values.filter((value) => Number.isFinite(value)).sort();
  const low = known[Math.floor(known.length * 0.02)] ?? 0;
  const high = known[Math.floor(known.length * 0.98)] ?? 1;
  const bins = Int8Array.from(values, (value) =>
    Number.isFinite(value) ? Math.max(0, Math.min(BINS - 1, Math.floor(((value - low) / (high - low || 1)) * BINS))) : -1,
  );
  return { bins, low, high };
}

/** A colour for every component, as places in a list of colours. */
export function coloured(map: PointMap, by: Colouring): { colours: string[]; of: Int8Array | Int32Array } {
  if (by === "layer") return { colours: map.layers.map((_, place) => layerColour(place)), of: map.layer };
  const { bins } = binned(map[by]);
  return { colours: [...RAMP, MISSING], of: bins.map((bin) => (bin < 0 ? BINS : bin)) };
}
