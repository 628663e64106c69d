import { Link, NavLink } from "react-router";
import type { Snapshot } from "../api/client";
import { plural, words } from "../format";
import { LineageLink } from "./LineageLink";
import { snapshotPath } from "./links";

const VIEWS = [
  ["", "Search"],
  ["/map", "Map"],
  ["/labels", "Labels"],
] as const;

/** What a snapshot is made of, and its views. */
export function SnapshotHead({ snapshot, at }: { snapshot: Snapshot; at: string }) {
  return (
    <>
      <p className="crumbs">
        <Link to="/">Snapshots</Link> / {snapshot.name}
      </p>
      <h1>{snapshot.name}</h1>
      <p className="lead">
        {snapshot.model.name} on <Link to={`/datasets/${snapshot.dataset.id}`}>{snapshot.dataset.name}</Link> ·{" "}
        {plural(snapshot.dataset.n, "picture")} · encoder {snapshot.encoder.name}
        {snapshot.request.crop && snapshot.request.crop !== "none" && ` · crops by ${words(snapshot.request.crop)}`} · <LineageLink of={snapshot.lineage} what="lineage" />
      </p>
      <nav className="tabs" aria-label="Views of the snapshot">
        {VIEWS.map(([path, name]) => (
          <NavLink key={name} to={snapshotPath(at) + path} end>
            {name}
          </NavLink>
        ))}
      </nav>
    </>
  );
}
