import { Problem, problemOf } from "../api/problem";
import { type Arrays, readArrays } from "./arrays";

export const COLOURINGS = ["layer", "clarity", "polysemanticity", "redundancy"] as const;
export type Colouring = (typeof COLOURINGS)[number];
export type Layout = "umap" | "pca";
export type Polygon = (readonly [number, number])[];

/** The components of a snapshot on a plane; one entry of each array a component. */
export interface PointMap {
  n: number;
  layers: string[];
  xy: Float32Array;
  layer: Int32Array;
  index: Int32Array;
  sign: Int32Array;
  clarity: Float32Array;
  polysemanticity: Float32Array;
  redundancy: Float32Array;
}

export function mapOf({ arrays, facts }: Arrays): PointMap {
  const floats = (name: string) => {
    const found = arrays[name];
    if (!(found instanceof Float32Array)) throw new Error(`The map has no ${name}.`);
    return found;
  };
  const wholes = (name: string) => {
    const found = arrays[name];
    if (!(found instanceof Int32Array)) throw new Error(`The map has no ${name}.`);
    return found;
  };
  const index = wholes("index");
  return {
    n: index.length,
    layers: facts.layers as string[],
    xy: floats("xy"),
    layer: wholes("layer"),
    index,
    sign: wholes("sign"),
    clarity: floats("clarity"),
    polysemanticity: floats("polysemanticity"),
    redundancy: floats("redundancy"),
  };
}

/** Fetch a map; the first one of a snapshot takes the server some seconds. */
export async function fetchMap(snapshot: string, layout: Layout, signal: AbortSignal): Promise<PointMap> {
  const answer = await fetch(`/v1/snapshots/${encodeURIComponent(snapshot)}/map?layout=${layout}`, { signal });
  if (!answer.ok) throw problemOf(answer.status, await answer.json().catch(() => null));
  try {
    return mapOf(readArrays(await answer.arrayBuffer()));
  } catch (thrown) {
    if (thrown instanceof DOMException) throw thrown;
    throw new Problem({ title: "UnreadableMap", status: 0, detail: String(thrown), remedy: "Reload the page." });
  }
}

/** Whether a point lies within a polygon: a ray to the right crosses its sides an odd number of times. */
export function inside(polygon: Polygon, x: number, y: number): boolean {
  let within = false;
  polygon.forEach(([ax, ay], i) => {
    const [bx, by] = polygon.at(i - 1) ?? [ax, ay];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
  });
  return within;
}

/** The places of components that lie within the polygon and in one of the layers; no polygon and no layers mean all. */
export function selected(map: PointMap, polygon: Polygon | null, layers: string[]): number[] {
  const shown = layers.length === 0 ? null : new Set(layers.map((name) => map.layers.indexOf(name)));
  const found: number[] = [];
  for (let i = 0; i < map.n; i++) {
    if (shown !== null && !shown.has(map.layer[i]!)) continue;
    if (polygon !== null && !inside(polygon, map.xy[2 * i]!, map.xy[2 * i + 1]!)) continue;
    found.push(i);
  }
  return found;
}

/** `0.12,-0.5;…`: a region in the address. */
export function writePolygon(polygon: Polygon): string {
  return polygon.map(([x, y]) => `${Number(x.toFixed(3))},${Number(y.toFixed(3))}`).join(";");
}

export function readPolygon(text: string | null): Polygon | null {
  if (text === null) return null;
  const points = text.split(";").map((pair) => pair.split(",").map(Number));
  if (points.length < 3 || points.some((pair) => pair.length !== 2 || !pair.every(Number.isFinite))) return null;
  return points.map(([x, y]) => [x!, y!] as const);
}

export const MOST_CORNERS = 60;

/** A drawn line with at most so many corners, evenly taken. */
export function thinned(line: Polygon): Polygon {
  const step = Math.max(1, Math.ceil(line.length / MOST_CORNERS));
  return line.filter((_, i) => i % step === 0);
}
