import type { AttributionRequest, Model, Snapshot } from "../api/client";
import { pictureOf } from "./pictures";

/** What the predict page shows; it lives in the address, so that an explanation can be shared. */
export interface Case {
  model: string | null;
  dataset: string | null;
  sample: number | null;
  picture: string | null;
  methods: string[];
  target: number | null;
  layers: string[];
}

const whole = (value: string | null): number | null => (value !== null && /^\d{1,9}$/.test(value) ? Number(value) : null);

export function readCase(search: URLSearchParams): Case {
  return {
    model: search.get("model"),
    dataset: search.get("dataset"),
    sample: whole(search.get("sample")),
    picture: search.get("picture"),
    methods: search.getAll("method"),
    target: whole(search.get("target")),
    layers: search.getAll("layer"),
  };
}

export function writeCase(shown: Case): URLSearchParams {
  const search = new URLSearchParams();
  if (shown.model !== null) search.set("model", shown.model);
  if (shown.dataset !== null) search.set("dataset", shown.dataset);
  if (shown.sample !== null) search.set("sample", String(shown.sample));
  if (shown.picture !== null) search.set("picture", shown.picture);
  for (const method of shown.methods) search.append("method", method);
  if (shown.target !== null) search.set("target", String(shown.target));
  for (const layer of shown.layers) search.append("layer", layer);
  return search;
}

export const predictPath = (dataset: string, sample: number, model?: string): string =>
  `/predict?${new URLSearchParams({ ...(model ? { model } : {}), dataset, sample: String(sample) })}`;

/** Three quick views of different kinds: at the input, at the last map, and by propagation rules. */
export function usualMethods(model: Model): string[] {
  const maps = model.layers.some((layer) => layer.kind === "map");
  return ["gradient_x_input", "gradcam", maps ? "epsilon_plus" : "attnlrp"];
}

const USUAL_LAYERS = 2;

/** The layers whose components have pages: the last ones of the snapshot, but for the scores themselves. */
export function usualLayers(model: Model, snapshot: Snapshot | undefined): string[] {
  const known = snapshot?.layers.map((layer) => layer.name) ?? model.layers.map((layer) => layer.name);
  return known.slice(0, -1).slice(-USUAL_LAYERS);
}

/** Where the picture comes from; null until one is chosen, or where a reload forgot it. */
export function sourceOf(shown: Case): Pick<AttributionRequest, "sample" | "picture"> | null {
  const picture = pictureOf(shown.picture);
  if (picture !== undefined) return { picture: picture.base64, sample: null };
  if (shown.dataset !== null && shown.sample !== null)
    return { sample: { dataset: shown.dataset, index: shown.sample }, picture: null };
  return null;
}
