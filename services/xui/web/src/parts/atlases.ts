import { useQuery } from "@tanstack/react-query";
import { api, ask, type Atlas, type CarriedAtlas } from "../api/client";

export type TierName = "verified" | "weak" | "untrusted" | "insufficient_evidence" | "unlabelled";

/** From the best to none; `trusted` ones are shown by default. */
export const TIERS: Record<TierName, { name: string; told: string }> = {
  verified: { name: "verified", told: "lower bound of the AUROC at least 0.85" },
  weak: { name: "weak", told: "lower bound of the AUROC at least 0.70" },
  untrusted: { name: "untrusted", told: "lower bound of the AUROC below 0.70" },
  insufficient_evidence: { name: "too little evidence", told: "too few samples on which it fires" },
  unlabelled: { name: "no label", told: "too few active samples to be named or judged" },
};

export const tierOf = (name: string) => TIERS[name as TierName] ?? { name, told: "" };

export const atlasPath = (atlas: string): string => `/atlases/${encodeURIComponent(atlas)}`;
export const carriedPath = (alignment: string): string => `/atlases/carried/${encodeURIComponent(alignment)}`;

/** `13,400 tokens` or `800 pictures`: what the samples of an atlas are. */
export const ofText = (atlas: Pick<Atlas, "capture"> | Pick<CarriedAtlas, "capture">): boolean => Boolean(atlas.capture);

export const useAtlas = (atlas: string) =>
  useQuery({
    queryKey: ["atlas", atlas],
    queryFn: ({ signal }) => ask(api.GET("/v1/atlases/{atlas}", { params: { path: { atlas } }, signal })),
    staleTime: Infinity,
  });

export const useAtlasLabels = (atlas: string) =>
  useQuery({
    queryKey: ["atlas labels", atlas],
    queryFn: ({ signal }) => ask(api.GET("/v1/atlases/{atlas}/labels", { params: { path: { atlas } }, signal })),
    staleTime: Infinity,
  });

export const useSae = (sae: string | undefined) =>
  useQuery({
    queryKey: ["sae", sae],
    queryFn: ({ signal }) => ask(api.GET("/v1/saes/{sae}", { params: { path: { sae: sae ?? "" } }, signal })),
    enabled: sae !== undefined,
    staleTime: Infinity,
  });

export const useCarried = (alignment: string) =>
  useQuery({
    queryKey: ["carried", alignment],
    queryFn: ({ signal }) => ask(api.GET("/v1/alignments/{alignment}", { params: { path: { alignment } }, signal })),
    staleTime: Infinity,
  });
