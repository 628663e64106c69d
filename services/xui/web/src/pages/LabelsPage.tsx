import { useQuery } from "@tanstack/react-query";
import { useParams } from "react-router";
import { api, ask, type Estimate, type LabelSet, type LayerLeaderboard, type Snapshot } from "../api/client";
import { count, figure, moment, plural, shortHash, words } from "../format";
import { Fact } from "../parts/Fact";
import { IntervalBar } from "../parts/IntervalBar";
import { useAddress } from "../parts/address";
import { setFor, useLabelling, useLabelSets } from "../parts/labels";
import { LineageLink } from "../parts/LineageLink";
import { useSnapshot } from "../parts/snapshot";
import { SnapshotHead } from "../parts/SnapshotHead";
import { Empty, Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import { useMay } from "../session";

export function LabelsPage() {
  const { snapshot: at = "" } = useParams();
  const snapshot = useSnapshot(at);
  const sets = useLabelSets(at);
  useTitle(`Labels · ${snapshot.data?.name ?? at}`);
  return (
    <main className="page">
      {(snapshot.isPending || sets.isPending) && <Loading what="labels" />}
      {snapshot.isError && <Refusal problem={snapshot.error} retry={() => void snapshot.refetch()} />}
      {snapshot.data && <SnapshotHead snapshot={snapshot.data} at={at} />}
      {sets.isError && !snapshot.isError && <Refusal problem={sets.error} retry={() => void sets.refetch()} />}
      {snapshot.data && sets.data?.items.length === 0 && <NoLabels snapshot={snapshot.data} />}
      {sets.data && sets.data.items.length > 0 && <Leaderboards at={at} sets={sets.data.items} />}
    </main>
  );
}

function NoLabels({ snapshot }: { snapshot: Snapshot }) {
  const may = useMay("submit");
  const label = useLabelling();
  return (
    <Empty title="No labels yet">
      <p>Several scorers name every component; each name is judged on pictures that did not make it.</p>
      <pre className="command">xsys label build {snapshot.name}</pre>
      {may && (
        <p>
          <button type="button" className="button primary" disabled={label.isPending} onClick={() => label.mutate({ snapshot: snapshot.id })}>
            Label all layers
          </button>
        </p>
      )}
      {label.isError && <Refusal problem={label.error} />}
    </Empty>
  );
}

function Leaderboards({ at, sets }: { at: string; sets: LabelSet[] }) {
  const [search, setSearch] = useAddress();
  const set = setFor(sets, search.get("labels"), null);
  const board = useQuery({
    queryKey: ["leaderboard", at, set?.id],
    queryFn: ({ signal }) =>
      ask(
        api.GET("/v1/snapshots/{snapshot}/labels/leaderboard", {
          params: { path: { snapshot: at }, query: { labels: set!.id } },
          signal,
        }),
      ),
    enabled: set !== undefined,
    staleTime: Infinity,
  });
  return (
    <>
      <div className="pickrow spaced">
        <label>
          Label set{" "}
          <select value={set?.id} onChange={(event) => setSearch({ labels: event.target.value })}>
            {sets.map((each) => (
              <option key={each.id} value={each.id}>
                {each.vocabulary.source} · {plural(each.layers.length, "layer")} · {moment(each.created_at)}
              </option>
            ))}
          </select>
        </label>
      </div>
      {set && (
        <dl className="facts spaced">
          <Fact name="Names to choose from" value={`${count(set.vocabulary.n)} (${words(set.vocabulary.source)})`} />
          <Fact name="Names as vectors" value={set.text} />
          <Fact name="Encoder" value={set.encoder} />
          <Fact name="Judged by" value={set.simulator} />
          <Fact name="Lineage" value={<LineageLink of={set.lineage} what={shortHash(set.lineage)} />} />
        </dl>
      )}
      {board.isPending && <Loading what="the leaderboards" />}
      {board.isError && <Refusal problem={board.error} retry={() => void board.refetch()} />}
      {board.data?.layers.map((layer) => (
        <Board key={layer.layer} layer={layer} />
      ))}
    </>
  );
}

function Board({ layer }: { layer: LayerLeaderboard }) {
  return (
    <section className="panel spaced" aria-label={`Leaderboard of ${layer.layer}`}>
      <h2>
        <span className="mono">{layer.layer}</span>
      </h2>
      <p className="muted small">
        Labels made from {plural(layer.probe, "picture")}, thresholds from {count(layer.tune)}, judged on {count(layer.held_out)} held-out
        pictures of {plural(layer.held_out_groups, "source")}. Means over components with 95 % intervals; controls must stay at chance.
      </p>
      <div className="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">Scorer</th>
              <th scope="col">Correlation</th>
              <th scope="col" className="right">
                AUPRC
              </th>
              <th scope="col" className="right">
                F1
              </th>
              <th scope="col" className="right">
                IoU
              </th>
              <th scope="col" className="right">
                Labelled
              </th>
              <th scope="col" className="right">
                Unsure
              </th>
              <th scope="col" className="right">
                Behind the best
              </th>
            </tr>
          </thead>
          <tbody>
            {layer.rows.map((row) => (
              <tr key={row.scorer} className={row.control ? "control" : undefined}>
                <th scope="row">
                  {words(row.scorer)} {row.control && <span className="badge">control</span>}
                </th>
                <td>
                  <IntervalBar {...interval(row.correlation)} />
                </td>
                <td className="right">{figure(row.auprc?.value)}</td>
                <td className="right">{figure(row.f1?.value)}</td>
                <td className="right">{figure(row.iou?.value)}</td>
                <td className="right">{count(row.labelled)}</td>
                <td className="right">{count(row.unsure)}</td>
                <td className="right">
                  {row.behind ? `${figure(row.behind.value, 3)} (p ${figure(row.p_behind, 3)})` : "–"}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

const interval = (estimate: Estimate | null) => ({ value: estimate?.value, low: estimate?.low, high: estimate?.high });
