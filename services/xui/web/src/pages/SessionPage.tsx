import { useEffect } from "react";
import { Link, useParams } from "react-router";
import { type AnalysisSession, type Pin, thumbnail } from "../api/client";
import { figure, moment } from "../format";
import { useAnalysis } from "../parts/analysis";
import { componentName, componentPath, snapshotPath } from "../parts/links";
import { LiveMark } from "../parts/SessionBar";
import { SessionHistory } from "../parts/SessionHistory";
import { SessionNotes } from "../parts/SessionNotes";
import { SessionPeople, SessionShare } from "../parts/SessionPeople";
import { useSnapshot } from "../parts/snapshot";
import { Empty, Loading } from "../parts/states";
import { useTitle } from "../parts/title";
import { useSession } from "../session";
import "../styles/session.css";

/** Opening a session makes it the one that is worked in, on all pages of this browser. */
export function SessionPage() {
  const { session: id = "" } = useParams();
  const { open, id: current, session } = useAnalysis();
  useEffect(() => open(id), [id, open]);
  useTitle(session?.id === id ? session.name : "Analysis session");
  return (
    <main className="page">
      <p className="crumbs">
        <Link to="/sessions">Sessions</Link> / <span className="mono">{id}</span>
      </p>
      {session?.id === id ? (
        <Workspace session={session} />
      ) : current === null ? (
        <Empty title="There is no such analysis session for you">
          <p>Only its members see it. Ask one of them for a share link, or go back to your sessions.</p>
        </Empty>
      ) : (
        <Loading what="the analysis session" />
      )}
    </main>
  );
}

function Workspace({ session }: { session: AnalysisSession }) {
  const { live } = useAnalysis();
  const { identity } = useSession();
  const snapshot = useSnapshot(session.state.snapshot);
  const place = session.state.places?.[identity.user];
  return (
    <>
      <div className="titlerow">
        <h1>{session.name}</h1>
        <nav className="actions" aria-label="Session">
          <LiveMark live={live} />
          {place && (
            <Link className="button primary" to={place.path}>
              Back to {place.title || place.path}
            </Link>
          )}
          <Exports session={session} />
        </nav>
      </div>
      <p className="lead">
        On snapshot <Link to={snapshotPath(session.state.snapshot)}>{snapshot.data?.name ?? session.state.snapshot}</Link>, begun{" "}
        {moment(session.created_at)}
        {session.parent && (
          <>
            , branched from <Link to={`/sessions/${session.parent}`}>another session</Link> at event {session.parent_seq}
          </>
        )}
        .
      </p>
      <div className="withside folding">
        <div className="mainside">
          <Pins session={session} />
          <SessionNotes session={session} />
          <SessionHistory session={session} />
        </div>
        <aside aria-label="People and links">
          <SessionPeople session={session} />
          <SessionShare session={session} />
        </aside>
      </div>
    </>
  );
}

function Exports({ session }: { session: AnalysisSession }) {
  const of = (format: string) => `/v1/sessions/${session.id}/report?format=${format}`;
  return (
    <>
      <a className="button" href={of("html")} download={`${session.name}.html`}>
        Report
      </a>
      <a className="button" href={of("python")} download={`${session.name}.py`}>
        Python
      </a>
      <a className="button" href={of("json")} download={`${session.name}.json`}>
        JSON
      </a>
    </>
  );
}

function Pins({ session }: { session: AnalysisSession }) {
  const pins = session.state.pins ?? [];
  return (
    <section className="panel" aria-labelledby="pins-title">
      <h2 id="pins-title">
        Pinned components <span className="muted">{pins.length}</span>
      </h2>
      {pins.length === 0 && (
        <p className="muted">
          Nothing is pinned yet. On a search result or a component's page, press <kbd className="key">p</kbd>.
        </p>
      )}
      <ul className="pins" aria-label="Pinned components">
        {pins.map((pin) => (
          <PinCard key={pin.seq} pin={pin} session={session} />
        ))}
      </ul>
    </section>
  );
}

function PinCard({ pin, session }: { pin: Pin; session: AnalysisSession }) {
  const { act, mayEdit } = useAnalysis();
  const { component, snapshot, dataset, examples, clarity } = pin.pinned;
  const name = componentName(component, component.sign === -1);
  const by = session.members.find((member) => member.user === pin.user)?.name ?? pin.user;
  return (
    <li>
      <Link to={componentPath(snapshot, component)}>{name}</Link>
      <span className="thumbs">
        {examples.map((sample) => (
          <img key={sample} src={thumbnail(dataset, sample)} alt={`sample ${sample}`} loading="lazy" width="56" height="56" />
        ))}
      </span>
      <span className="muted small">
        clarity {figure(clarity ?? null)} · {by}
      </span>
      {mayEdit && (
        <button
          type="button"
          className="button small quiet"
          aria-label={`Take away ${name}`}
          onClick={() => void act({ kind: "unpin", layer: component.layer, index: component.index, sign: component.sign }).catch(() => undefined)}
        >
          Take away
        </button>
      )}
    </li>
  );
}
