import type { SearchQuery } from "../api/client";
import { pictureOf } from "./pictures";

export const STEP = 24;
const MOST = 960;
const EXAMPLES = 6;

export interface Like {
  layer: string;
  index: number;
  sign: 1 | -1;
}

/** Everything that a search depends on; it lives in the address, so that a search can be shared. */
export interface Asked {
  text: string;
  like: Like | null;
  sample: number | null;
  picture: string | null;
  layers: string[];
  minClarity: number | null;
  minScore: number | null;
  k: number;
}

const decimal = (value: string | null): number | null => {
  if (value === null || value.trim() === "") return null;
  const number = Number(value);
  return Number.isFinite(number) ? number : null;
};

const whole = (value: string | null): number | null => (value !== null && /^\d{1,9}$/.test(value) ? Number(value) : null);

/** `blocks.5:12` or `blocks.5:12:-1`; layer names may hold colons. */
export function readLike(value: string | null): Like | null {
  const found = value?.match(/^(.+?):(\d{1,9})(?::(-?1))?$/);
  if (!found?.[1] || !found[2]) return null;
  return { layer: found[1], index: Number(found[2]), sign: found[3] === "-1" ? -1 : 1 };
}

export const writeLike = (like: Like): string => `${like.layer}:${like.index}${like.sign === -1 ? ":-1" : ""}`;

export function readAsked(search: URLSearchParams): Asked {
  return {
    text: search.get("q")?.trim() ?? "",
    like: readLike(search.get("like")),
    sample: whole(search.get("sample")),
    picture: search.get("picture"),
    layers: search.getAll("layer"),
    minClarity: decimal(search.get("min_clarity")),
    minScore: decimal(search.get("min_score")),
    k: Math.min(MOST, Math.max(1, whole(search.get("k")) ?? STEP)),
  };
}

export function writeAsked(asked: Asked): URLSearchParams {
  const search = new URLSearchParams();
  if (asked.text !== "") search.set("q", asked.text);
  if (asked.like !== null) search.set("like", writeLike(asked.like));
  if (asked.sample !== null) search.set("sample", String(asked.sample));
  if (asked.picture !== null) search.set("picture", asked.picture);
  for (const layer of asked.layers) search.append("layer", layer);
  if (asked.minClarity !== null) search.set("min_clarity", String(asked.minClarity));
  if (asked.minScore !== null) search.set("min_score", String(asked.minScore));
  if (asked.k !== STEP) search.set("k", String(asked.k));
  return search;
}

/** The request for the server; null where nothing is searched for. */
export function requestOf(asked: Asked): SearchQuery | null {
  const picture = pictureOf(asked.picture);
  const terms: SearchQuery["terms"] = [];
  if (asked.text !== "") terms.push({ kind: "text", text: asked.text, weight: 1 });
  if (asked.like !== null) terms.push({ kind: "component", ...asked.like, weight: 1 });
  if (asked.sample !== null) terms.push({ kind: "sample", sample: asked.sample, weight: 1 });
  if (picture !== undefined) terms.push({ kind: "picture", picture: picture.base64, weight: 1 });
  if (terms.length === 0) return null;
  return {
    terms,
    k: asked.k,
    examples: EXAMPLES,
    layers: asked.layers.length > 0 ? asked.layers : null,
    min_clarity: asked.minClarity,
    min_score: asked.minScore,
  };
}
