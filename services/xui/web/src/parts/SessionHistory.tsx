import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useNavigate } from "react-router";
import { type AnalysisSession, api, ask, type Replay, type SessionEvent } from "../api/client";
import { moment } from "../format";
import { useMay } from "../session";
import { historyKey, useAnalysis } from "./analysis";
import { MoreButton } from "./listing";
import { typing } from "./PinButton";
import { ReplayBar, Replayed } from "./ReplayBar";
import { useReplaying } from "./replays";
import { sessionPath } from "./SessionBar";
import { Loading, Refusal } from "./states";

const UNDOABLE = new Set(["pin", "unpin", "note", "move", "undo"]);
const LOOKS = new Set(["view", "search"]);

/** The record, newest first: take a step back, or go another way from any event. */
export function SessionHistory({ session }: { session: AnalysisSession }) {
  const { mayEdit, act } = useAnalysis();
  const [looks, setLooks] = useState(true);
  const [problem, setProblem] = useState<unknown>(null);
  const query = useInfiniteQuery({
    queryKey: historyKey(session.id),
    queryFn: ({ pageParam, signal }) =>
      ask(
        api.GET("/v1/sessions/{session}/history", {
          params: { path: { session: session.id }, query: { order: "newest", limit: 50, cursor: pageParam } },
          signal,
        }),
      ),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
  });
  const undo = (event: number | null) => {
    act({ kind: "undo", event }).then(() => setProblem(null), setProblem);
  };
  useUndoKey(mayEdit, () => undo(null));
  const events = query.data?.pages.flatMap((page) => page.items) ?? [];
  const shown = looks ? events : events.filter((event) => !LOOKS.has(event.action.kind));
  const off = new Set(session.state.undone);
  const replays = useMay("audit-log");
  const replaying = useReplaying(session.id, session.state.seq);
  return (
    <section className="panel" aria-labelledby="history-title">
      <div className="titlerow">
        <h2 id="history-title">History</h2>
        <p className="actions">
          <label className="small">
            <input type="checkbox" checked={looks} onChange={(event) => setLooks(event.target.checked)} /> visits and searches
          </label>
          {mayEdit && (
            <button type="button" className="button small" aria-keyshortcuts="Control+z" onClick={() => undo(null)}>
              Undo my last change
            </button>
          )}
        </p>
      </div>
      {replays && <ReplayBar replaying={replaying} events={session.state.seq} />}
      {problem !== null && <Refusal problem={problem} />}
      {query.isPending && <Loading what="the history" />}
      {query.isError && <Refusal problem={query.error} retry={() => void query.refetch()} />}
      {query.isSuccess && shown.length === 0 && <p className="muted">Nothing has happened yet.</p>}
      <ol className="history" aria-label="Events, newest first">
        {shown.map((event) => (
          <Entry key={event.seq} event={event} off={off.has(event.seq)} mayEdit={mayEdit} undo={undo} session={session} replay={replaying.told.get(event.seq)} />
        ))}
      </ol>
      {query.hasNextPage && <MoreButton load={() => void query.fetchNextPage()} busy={query.isFetchingNextPage} />}
    </section>
  );
}

interface EntryProps {
  event: SessionEvent;
  off: boolean;
  mayEdit: boolean;
  undo: (event: number) => void;
  session: AnalysisSession;
  replay: Replay | undefined;
}

function Entry({ event, off, mayEdit, undo, session, replay }: EntryProps) {
  return (
    <li className={off ? "off" : undefined}>
      <span className="num muted">{event.seq}</span>
      <span>
        <b>{event.by}</b> {event.what}
        {off && <span className="muted"> (undone)</span>} <span className="muted small">{moment(event.at)}</span> {replay && <Replayed replay={replay} />}
      </span>
      <span className="entryacts">
        {mayEdit && !off && UNDOABLE.has(event.action.kind) && (
          <button type="button" className="button small quiet" aria-label={`Undo event ${event.seq}`} onClick={() => undo(event.seq)}>
            Undo
          </button>
        )}
        <BranchButton session={session} at={event.seq} />
      </span>
    </li>
  );
}

function BranchButton({ session, at }: { session: AnalysisSession; at: number }) {
  const may = useMay("annotate");
  const navigate = useNavigate();
  const queries = useQueryClient();
  const branch = useMutation({
    mutationFn: () => {
      const name = `${session.name.slice(0, 60)} at ${at}`;
      return ask(api.POST("/v1/sessions/{session}/branches", { params: { path: { session: session.id } }, body: { name, at } }));
    },
    onSuccess: (made) => {
      void queries.invalidateQueries({ queryKey: ["/v1/sessions"] });
      navigate(sessionPath(made.id));
    },
  });
  if (!may) return null;
  return (
    <button
      type="button"
      className="button small quiet"
      aria-label={`Branch from event ${at}`}
      disabled={branch.isPending}
      onClick={() => branch.mutate()}
    >
      {branch.isError ? "Branch failed, again" : "Branch"}
    </button>
  );
}

function useUndoKey(may: boolean, undo: () => void): void {
  useEffect(() => {
    if (!may) return;
    const listen = (event: KeyboardEvent) => {
      if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey || typing(event.target)) return;
      event.preventDefault();
      undo();
    };
    window.addEventListener("keydown", listen);
    return () => window.removeEventListener("keydown", listen);
  });
}
