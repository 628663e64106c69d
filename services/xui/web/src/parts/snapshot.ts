import { useQuery } from "@tanstack/react-query";
import { type Answer, api, ask, type Snapshot } from "../api/client";

/** Snapshots never change, so one answer serves for the whole visit. */
export function useSnapshot(snapshot: string) {
  return useQuery({
    queryKey: ["snapshot", snapshot],
    queryFn: ({ signal }) =>
      ask(api.GET("/v1/snapshots/{snapshot}", { params: { path: { snapshot } }, signal }) as Promise<Answer<Snapshot>>),
    staleTime: Infinity,
  });
}
