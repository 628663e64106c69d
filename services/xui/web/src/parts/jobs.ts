import { atlasPath, carriedPath } from "./atlases";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { api, ask, type Job } from "../api/client";

const ENDED = new Set<Job["state"]>(["done", "failed", "cancelled"]);
export const hasEnded = (job: Job): boolean => ENDED.has(job.state);

/** A job, live for as long as it runs; where no event stream can be had, it is asked for every two seconds. */
export function useJob(id: string) {
  const queries = useQueryClient();
  const [polled, setPolled] = useState(false);
  const query = useQuery({
    queryKey: ["job", id],
    queryFn: ({ signal }) => ask(api.GET("/v1/jobs/{job}", { params: { path: { job: id } }, signal })),
    refetchInterval: ({ state }) => (polled && state.data && !hasEnded(state.data) ? 2000 : false),
  });
  const live = query.data !== undefined && !hasEnded(query.data);
  useEffect(() => {
    if (!live) return;
    const events = new EventSource(`/v1/jobs/${encodeURIComponent(id)}/events`);
    events.addEventListener("job", (event: MessageEvent<string>) => {
      const job = JSON.parse(event.data) as Job;
      queries.setQueryData<Job>(["job", id], (known) => (known && known.version > job.version ? known : job));
      if (hasEnded(job)) void queries.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] !== "job" });
    });
    events.addEventListener("end", () => events.close());
    events.onerror = () => setPolled(events.readyState === EventSource.CLOSED); // otherwise it reconnects by itself
    return () => events.close();
  }, [id, live, queries]);
  return query;
}

/** Where the thing is shown that a job made. */
export function resultPath(job: Job): string | null {
  if (!job.result) return null;
  const id = encodeURIComponent(job.result);
  if (job.result.startsWith("s_")) return `/s/${id}`;
  if (job.result.startsWith("d_")) return `/datasets/${id}`;
  if (job.result.startsWith("a_")) return `/audits/${id}`;
  if (job.result.startsWith("c_")) return `/alignment/${id}`;
  if (job.result.startsWith("atlas_")) return atlasPath(job.result);
  if (job.result.startsWith("align_")) return carriedPath(job.result);
  return job.result.startsWith("m_") ? "/models" : null;
}

/** Done units of all stages against all units; stages whose size is not known yet count as nothing done. */
export function progressOf(job: Job): number {
  const stages = job.stages.map((stage) => (stage.state === "done" ? 1 : stage.total > 0 ? stage.done / stage.total : 0));
  return stages.length === 0 ? 0 : stages.reduce((sum, share) => sum + share, 0) / stages.length;
}
