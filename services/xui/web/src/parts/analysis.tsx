import { type QueryClient, useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useRef, useState } from "react";
import { useLocation } from "react-router";
import { type AnalysisSession, api, ask, type ComponentRef, type SessionAction, type SessionEvent, type Snapshot, type Viewer } from "../api/client";
import { asProblem, Problem } from "../api/problem";
import { useMay, useSession } from "../session";

const KEPT = "xsys-analysis-session";
const DWELL = 1500; // milliseconds on a page before it counts as looked at
const AGAIN = 2000; // milliseconds until a stream that was refused is tried anew

export type Live = "connecting" | "live" | "lost";

export interface Analysis {
  id: string | null;
  session: AnalysisSession | undefined;
  live: Live;
  viewers: Viewer[];
  mayEdit: boolean;
  /** What was refused last, to be shown until it is dismissed. */
  problem: Problem | null;
  dismiss: () => void;
  open: (id: string) => void;
  leave: () => void;
  act: (action: SessionAction) => Promise<SessionEvent>;
  /** Pin a component; where no session is open, one is begun on the snapshot. */
  pin: (snapshot: Snapshot, ref: Pinnable) => Promise<void>;
}

export type Pinnable = Pick<ComponentRef, "layer" | "index"> & { sign?: number };

const AnalysisContext = createContext<Analysis | null>(null);

/** The analysis session that one works in; only below `AnalysisProvider`. */
export function useAnalysis(): Analysis {
  const analysis = useContext(AnalysisContext);
  if (analysis === null) throw new Error("useAnalysis outside AnalysisProvider");
  return analysis;
}

export const analysisKey = (id: string | null) => ["analysis", id] as const;
export const historyKey = (id: string | null) => ["analysis-history", id] as const;

/** Send one action. A repeat after a lost answer adds nothing: the key is made once for each action. */
export async function sendAction(id: string, action: SessionAction): Promise<SessionEvent> {
  const params = { path: { session: id }, header: { "Idempotency-Key": crypto.randomUUID() } };
  const send = () => ask(api.POST("/v1/sessions/{session}/history", { params, body: { action } }));
  return send().catch((thrown: unknown) => {
    if (asProblem(thrown).status !== 0) throw thrown;
    return send();
  });
}

export function AnalysisProvider({ children }: { children: ReactNode }) {
  const { identity } = useSession();
  const queries = useQueryClient();
  const mayAnnotate = useMay("annotate");
  const [id, setId] = useState(() => localStorage.getItem(KEPT));
  const [problem, setProblem] = useState<Problem | null>(null);
  const open = useCallback((next: string) => {
    localStorage.setItem(KEPT, next);
    setId(next);
  }, []);
  const leave = useCallback(() => {
    localStorage.removeItem(KEPT);
    setId(null);
    setProblem(null);
  }, []);
  const query = useQuery({
    queryKey: analysisKey(id),
    queryFn: ({ signal }) => ask(api.GET("/v1/sessions/{session}", { params: { path: { session: id! } }, signal })),
    enabled: id !== null,
    retry: false,
  });
  const session = id === null ? undefined : query.data;
  const gone = query.isError && [404, 422].includes(asProblem(query.error).status);
  useEffect(() => {
    if (gone && id !== null) localStorage.removeItem(KEPT);
  }, [gone, id]);
  const { live, viewers } = useLive(gone ? null : id, session, queries);
  const mayEdit = mayAnnotate && session !== undefined && session.access !== "view";
  useVisits(session, mayEdit, identity.user);
  const act = useCallback(
    async (action: SessionAction) => {
      if (id === null) throw new Problem({ title: "No analysis session", status: 0, detail: "None is open.", remedy: "Begin one under Sessions." });
      const event = await sendAction(id, action);
      setProblem(null);
      void refresh(queries, id);
      return event;
    },
    [id, queries],
  );
  const pin = useCallback(
    async (snapshot: Snapshot, ref: Pinnable) => {
      try {
        let at = gone ? null : id;
        if (at === null) {
          const name = `${snapshot.name} ${new Date().toISOString().slice(0, 16).replace("T", " ").replace(":", ".")}`;
          at = (await ask(api.POST("/v1/sessions", { params: {}, body: { name, snapshot: snapshot.id } }))).id;
          void queries.invalidateQueries({ queryKey: ["/v1/sessions"] });
          open(at);
        }
        const sign = ref.sign === -1 ? -1 : 1;
        await sendAction(at, { kind: "pin", snapshot: snapshot.id, layer: ref.layer, index: ref.index, sign });
        setProblem(null);
        void refresh(queries, at);
      } catch (thrown) {
        setProblem(asProblem(thrown));
      }
    },
    [gone, id, open, queries],
  );
  const dismiss = useCallback(() => setProblem(null), []);
  const value = useMemo(
    () => ({ id: gone ? null : id, session, live, viewers, mayEdit, problem, dismiss, open, leave, act, pin }),
    [gone, id, session, live, viewers, mayEdit, problem, dismiss, open, leave, act, pin],
  );
  return <AnalysisContext value={value}>{children}</AnalysisContext>;
}

async function refresh(queries: QueryClient, id: string): Promise<void> {
  await Promise.all([
    queries.invalidateQueries({ queryKey: analysisKey(id) }),
    queries.invalidateQueries({ queryKey: historyKey(id) }),
  ]);
}

/** Follow the session's events. The browser comes back by itself with the last event's number; nothing is lost. */
function useLive(id: string | null, session: AnalysisSession | undefined, queries: QueryClient) {
  const [live, setLive] = useState<Live>("connecting");
  const [viewers, setViewers] = useState<Viewer[]>([]);
  const [attempt, setAttempt] = useState(0);
  const last = useRef(0);
  last.current = session?.state.seq ?? 0;
  const ready = session !== undefined;
  useEffect(() => {
    if (id === null || !ready) return;
    let again: ReturnType<typeof setTimeout> | undefined;
    const events = new EventSource(`/v1/sessions/${encodeURIComponent(id)}/events?after=${last.current}`);
    events.onopen = () => setLive("live");
    events.addEventListener("event", (event: MessageEvent<string>) => {
      if (Number(event.lastEventId) > last.current) void refresh(queries, id);
    });
    events.addEventListener("presence", (event: MessageEvent<string>) => {
      setViewers((JSON.parse(event.data) as { viewers: Viewer[] }).viewers);
      void queries.invalidateQueries({ queryKey: analysisKey(id) }); // somebody may have become a member
    });
    events.addEventListener("refused", () => {
      events.close();
      void refresh(queries, id);
    });
    events.onerror = () => {
      setLive("lost");
      if (events.readyState === EventSource.CLOSED) again = setTimeout(() => setAttempt((n) => n + 1), AGAIN);
    };
    return () => {
      clearTimeout(again);
      events.close();
      setLive("connecting");
      setViewers([]);
    };
  }, [id, ready, queries, attempt]);
  return { live, viewers };
}

/** Tell the others where one looks, and record pages that were looked at for a while. */
function useVisits(session: AnalysisSession | undefined, mayEdit: boolean, user: string): void {
  const { pathname, search } = useLocation();
  const path = pathname + search;
  const id = session?.id;
  const known = session?.state.places?.[user]?.path;
  const recorded = useRef(known);
  if (known !== undefined) recorded.current = known;
  useEffect(() => {
    if (id === undefined || path.length > 2000) return;
    const params = { path: { session: id } };
    const timer = setTimeout(() => {
      const title = document.title.replace(/ · xsys$/, "").slice(0, 200);
      void ask(api.PUT("/v1/sessions/{session}/presence", { params, body: { path, title } })).catch(() => undefined);
    }, 250);
    return () => clearTimeout(timer);
  }, [id, path]);
  useEffect(() => {
    if (id === undefined || !mayEdit || path.length > 2000 || path.startsWith("/sessions")) return;
    const timer = setTimeout(() => {
      if (recorded.current === path) return;
      recorded.current = path;
      const title = document.title.replace(/ · xsys$/, "").slice(0, 200);
      void sendAction(id, { kind: "view", path, title }).catch(() => undefined);
    }, DWELL);
    return () => clearTimeout(timer);
  }, [id, mayEdit, path]);
}
