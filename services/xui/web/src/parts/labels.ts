import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "react-router";
import { api, ask, type LabelRequest, type LabelSet, type LabelStatus } from "../api/client";

export const STATUS: Record<LabelStatus, { name: string; tone: string; why: string }> = {
  ok: { name: "ok", tone: "done", why: "The label predicts held-out activations better than random labels do." },
  unsure: { name: "unsure", tone: "cancelled", why: "Held-out samples do not show that the label predicts this component." },
  insufficient_evidence: {
    name: "insufficient evidence",
    tone: "waiting",
    why: "Too few pictures activate this component to name it.",
  },
  no_contrast: { name: "no contrast", tone: "waiting", why: "The component answers alike to all pictures, so no name fits better than another." },
};

export function useLabelSets(snapshot: string) {
  return useQuery({
    queryKey: ["label-sets", snapshot],
    queryFn: ({ signal }) => ask(api.GET("/v1/snapshots/{snapshot}/labels", { params: { path: { snapshot } }, signal })),
  });
}

/** The set that the address names, or the newest that covers the layer. */
export function setFor(sets: LabelSet[], id: string | null, layer: string | null): LabelSet | undefined {
  const covering = layer === null ? sets : sets.filter((set) => set.layers.includes(layer));
  return covering.find((set) => set.id === id) ?? covering[0];
}

/** Ask for labels; the page of the job opens. */
export function useLabelling() {
  const navigate = useNavigate();
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (request: Partial<LabelRequest> & { snapshot: string }) =>
      ask(api.POST("/v1/labels", { body: request as LabelRequest })),
    onSuccess: (job) => {
      void queries.invalidateQueries({ queryKey: ["/v1/jobs"] });
      navigate(`/jobs/${job.id}`);
    },
  });
}
