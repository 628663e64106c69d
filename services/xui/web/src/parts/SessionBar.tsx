import { Link } from "react-router";
import { api, ask, type Viewer } from "../api/client";
import { plural } from "../format";
import { type Live, useAnalysis } from "./analysis";
import { Refusal } from "./states";
import "../styles/session.css";

const STATES: Record<Live, string> = { connecting: "connecting …", live: "live", lost: "connection lost, reconnecting …" };

export const sessionPath = (id: string): string => `/sessions/${encodeURIComponent(id)}`;

/** The analysis session that one works in, on every page: who is here, what was kept, how to leave. */
export function SessionBar() {
  const { id, session, live, viewers, problem, dismiss, leave, act } = useAnalysis();
  if (id === null && problem === null) return null;
  const move = problem?.title === "OtherSnapshot" && problem.given !== null ? problem.given : null;
  return (
    <aside className="sessionbar" aria-label="Analysis session">
      {problem !== null && (
        <div className="barproblem">
          <Refusal problem={problem} />
          <p className="actions">
            {move !== null && (
              <button type="button" className="button" onClick={() => void act({ kind: "move", snapshot: move })}>
                Move the session to this snapshot
              </button>
            )}
            <button type="button" className="button" onClick={dismiss}>
              Dismiss
            </button>
          </p>
        </div>
      )}
      {session && (
        <div className="barrow">
          <LiveMark live={live} />
          <Link to={sessionPath(session.id)}>{session.name}</Link>
          <span className="muted small">
            {plural(session.state.pins?.length ?? 0, "pin")} · {plural(session.state.notes?.length ?? 0, "note")}
          </span>
          <Here viewers={viewers} />
          <button type="button" className="button quiet small" onClick={leave}>
            Leave the session
          </button>
        </div>
      )}
    </aside>
  );
}

export function LiveMark({ live }: { live: Live }) {
  return (
    <span className={`live ${live}`} role="status">
      {STATES[live]}
    </span>
  );
}

/** Who has the session open: initials, with names for those who point or listen. */
function Here({ viewers }: { viewers: Viewer[] }) {
  return (
    <ul className="here" aria-label="Here now">
      {viewers.slice(0, 8).map((viewer) => (
        <li key={viewer.user} title={viewer.title ? `${viewer.name}: ${viewer.title}` : viewer.name}>
          <span aria-hidden="true">{viewer.name.slice(0, 2)}</span>
          <span className="hidden">{viewer.name}</span>
        </li>
      ))}
      {viewers.length > 8 && <li>+{viewers.length - 8}</li>}
    </ul>
  );
}

export const removeMember = (session: string, member: string) =>
  ask(api.DELETE("/v1/sessions/{session}/members/{member}", { params: { path: { session, member } } }));
