import { useInfiniteQuery } from "@tanstack/react-query";
import { type Answer, api, ask, type AuditLogEntry, type AuditSummary, type Comparison, type Dataset, type Job, type Model, type SessionSummary, type Snapshot, type WorkspaceMember } from "../api/client";

interface Listed {
  "/v1/snapshots": Snapshot;
  "/v1/jobs": Job;
  "/v1/datasets": Dataset;
  "/v1/models": Model;
  "/v1/comparisons": Comparison;
  "/v1/audits": AuditSummary;
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

export function MoreButton({ load, busy, what = "Show more" }: { load: () => void; busy: boolean; what?: string }) {
  return (
    <p className="more">
      <button type="button" className="button" onClick={load} disabled={busy}>
        {busy ? "Loading …" : what}
      </button>
    </p>
  );
}
