import { Link } from "react-router";
import type { Snapshot } from "../api/client";
import { count, figure, moment, plural } from "../format";
import { Fact } from "../parts/Fact";
import { useListing } from "../parts/listing";
import { Empty, Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import { TourButton } from "../parts/Tour";
import { useMay } from "../session";

export function SnapshotsPage() {
  useTitle("Snapshots");
  const may = useMay("register");
  const { items, query, more } = useListing("/v1/snapshots");
  return (
    <main className="page">
      <div className="titlerow">
        <h1>Snapshots</h1>
        <p className="actions">
          {items.length > 0 && <TourButton />}
          {may && (
            <Link className="button" to="/snapshots/new">
              Explain a model
            </Link>
          )}
        </p>
      </div>
      <p className="lead">A snapshot holds what every component of a model's layers responds to, on one dataset.</p>
      {query.isPending && <Loading what="snapshots" />}
      {query.isError && <Refusal problem={query.error} retry={() => void query.refetch()} />}
      {query.isSuccess && items.length === 0 && <NoSnapshot />}
      {items.length > 0 && (
        <ul className="tiles">
          {items.map((snapshot) => (
            <Tile key={snapshot.id} snapshot={snapshot} />
          ))}
        </ul>
      )}
      {more}
    </main>
  );
}

function Tile({ snapshot }: { snapshot: Snapshot }) {
  const recall = Object.entries(snapshot.index.recall_at_20).map(([kind, share]) => `${kind} ${figure(share, 3)}`);
  const components = snapshot.layers.reduce((sum, layer) => sum + layer.components, 0);
  return (
    <li className="tile">
      <h2>
        <Link to={`/s/${encodeURIComponent(snapshot.name)}`}>{snapshot.name}</Link>
      </h2>
      <p>
        {snapshot.model.name} on {snapshot.dataset.name}
      </p>
      <dl className="facts">
        <Fact name="Layers" value={count(snapshot.layers.length)} />
        <Fact name="Components" value={count(components)} />
        <Fact name="Pictures" value={count(snapshot.dataset.n)} />
        <Fact name="Encoder" value={snapshot.encoder.name} />
      </dl>
      <p className="muted small">
        {moment(snapshot.created_at)} · {plural(snapshot.index.n, "vector")} indexed
        {recall.length > 0 && ` · recall@20: ${recall.join(", ")}`}
      </p>
    </li>
  );
}

function NoSnapshot() {
  return (
    <Empty title="No snapshot yet">
      <p>
        Register <Link to="/datasets">pictures</Link> and a <Link to="/models">model</Link>, then{" "}
        <Link to="/snapshots/new">explain the model</Link>; or on the command line:
      </p>
      <pre className="command">
        {[
          "xsys dataset add PATH --name photos",
          "xsys model add lite0 --architecture timm:tf_efficientnet_lite0",
          "xsys snapshot build --model lite0 --dataset photos --name first",
        ].join("\n")}
      </pre>
      <p>
        Follow the progress under <Link to="/jobs">Jobs</Link>; the snapshot appears here when it is done.
      </p>
    </Empty>
  );
}
