import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { type Answer, api, ask, type Atlas, type AuditLogEntry, type AuditSummary, type CarriedAtlas, type Comparison, type Dataset, type Job, type Model, type SessionSummary, type Snapshot, type WorkspaceMember } from "../api/client";
import { Problem } from "../api/problem";

interface Listed {
  "/v1/snapshots": Snapshot;
  "/v1/jobs": Job;
  "/v1/datasets": Dataset;
  "/v1/models": Model;
  "/v1/comparisons": Comparison;
  "/v1/audits": AuditSummary;
  "/v1/atlases": Atlas;
  "/v1/alignments": CarriedAtlas;
  "/v1/sessions": SessionSummary;
  "/v1/members": WorkspaceMember;
  "/v1/audit-log": AuditLogEntry;
}

interface Slice<P extends keyof Listed> {
  items: Listed[P][];
  next?: string | null;
}

type Cursor = string | undefined;
const query = (cursor: Cursor) => ({ query: { limit: 50, cursor } });
const ASK = {
  "/v1/snapshots": (cursor: Cursor, signal: AbortSignal) => api.GET("/v1/snapshots", { params: query(cursor), signal }),
  "/v1/jobs": (cursor: Cursor, signal: AbortSignal) => api.GET("/v1/jobs", { params: query(cursor), signal }),
  "/v1/datasets": (cursor: Cursor, signal: AbortSignal) => api.GET("/v1/datasets", { params: query(cursor), signal }),
  "/v1/models": (cursor: Cursor, signal: AbortSignal) => api.GET("/v1/models", { params: query(cursor), signal }),
  "/v1/audits": (cursor: Cursor, signal: AbortSignal) => api.GET("/v1/audits", { params: query(cursor), signal }),
  "/v1/atlases": (cursor: Cursor, signal: AbortSignal) => api.GET("/v1/atlases", { params: query(cursor), signal }),
  "/v1/alignments": (cursor: Cursor, signal: AbortSignal) => api.GET("/v1/alignments", { params: query(cursor), signal }),
  "/v1/sessions": (cursor: Cursor, signal: AbortSignal) => api.GET("/v1/sessions", { params: query(cursor), signal }),
  "/v1/members": (cursor: Cursor, signal: AbortSignal) => api.GET("/v1/members", { params: query(cursor), signal }),
  "/v1/audit-log": (cursor: Cursor, signal: AbortSignal) => api.GET("/v1/audit-log", { params: query(cursor), signal }),
  "/v1/comparisons": (cursor: Cursor, signal: AbortSignal) => api.GET("/v1/comparisons", { params: query(cursor), signal }),
};

/** A listing, newest first, that grows by a page whenever the reader asks for it. */
export function useListing<P extends keyof Listed>(path: P, options: { refreshEvery?: number } = {}) {
  const query = useInfiniteQuery({
    queryKey: [path],
    queryFn: ({ pageParam, signal }) =>
      ask(ASK[path](pageParam, signal) as Promise<Answer<Slice<P>>>),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    refetchInterval: options.refreshEvery ?? false,
  });
  const more = query.hasNextPage ? (
    <MoreButton load={() => void query.fetchNextPage()} busy={query.isFetchingNextPage} />
  ) : null;
  return { items: query.data?.pages.flatMap((page) => page.items) ?? [], query, more };
}

interface Found {
  "/v1/snapshots": Snapshot;
  "/v1/datasets": Dataset;
  "/v1/models": Model;
}

const ONE = {
  "/v1/snapshots": (snapshot: string, signal: AbortSignal) => api.GET("/v1/snapshots/{snapshot}", { params: { path: { snapshot } }, signal }),
  "/v1/datasets": (dataset: string, signal: AbortSignal) => api.GET("/v1/datasets/{dataset}", { params: { path: { dataset } }, signal }),
  "/v1/models": (model: string, signal: AbortSignal) => api.GET("/v1/models/{model}", { params: { path: { model } }, signal }),
};

const refOf = (one: Snapshot | Dataset | Model): { id: string; name: string } => ("ref" in one ? one.ref : one);

/** A listing to choose from, and what an address names in it by id or name: asked for by itself where the list is longer. */
export function useChoice<P extends keyof Found>(path: P, wanted: string | null) {
  const listing = useListing(path);
  const items = listing.items as unknown as Found[P][];
  const named = (each: Found[P]) => [refOf(each).id, refOf(each).name].includes(wanted ?? "");
  const beyond = wanted !== null && listing.query.hasNextPage && !items.some(named);
  const one = useQuery({
    queryKey: ["one of", path, wanted],
    queryFn: ({ signal }) => ask(ONE[path](wanted!, signal) as Promise<Answer<Found[P]>>),
    enabled: beyond,
    retry: false,
  });
  const all = beyond && one.data ? [one.data, ...items] : items;
  const failed = beyond && one.isError && !(one.error instanceof Problem && one.error.status === 404);
  return { items: all, chosen: all.find(named), query: listing.query, more: listing.more, problem: failed ? one.error : null, retry: () => void one.refetch(), isPending: listing.query.isPending || (beyond && one.isLoading) };
}

export function MoreButton({ load, busy, what = "Show more" }: { load: () => void; busy: boolean; what?: string }) {
  return (
    <p className="more">
      <button type="button" className="button" onClick={load} disabled={busy}>
        {busy ? "Loading …" : what}
      </button>
    </p>
  );
}
