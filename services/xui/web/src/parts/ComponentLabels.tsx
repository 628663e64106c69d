import { useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "react-router";
import { api, ask, type CandidateFigures, type LabelStatus, type ScorerLabels } from "../api/client";
import { figure, words } from "../format";
import { IntervalBar } from "./IntervalBar";
import { setFor, STATUS, useLabelling, useLabelSets } from "./labels";
import { snapshotPath } from "./links";
import { Loading, Refusal } from "./states";
import { useMay } from "../session";

interface Props {
  at: string;
  layer: string;
  index: number;
  sign: 1 | -1;
}

/** What every scorer calls a component, beside how well that name predicts pictures which did not make it. */
export function ComponentLabels({ at, layer, index, sign }: Props) {
  const [search] = useSearchParams();
  const sets = useLabelSets(at);
  const set = sets.data && setFor(sets.data.items, search.get("labels"), layer);
  const told = useQuery({
    queryKey: ["component-labels", at, layer, index, sign, set?.id],
    queryFn: ({ signal }) =>
      ask(
        api.GET("/v1/snapshots/{snapshot}/labels/components/{layer}/{index}", {
          params: { path: { snapshot: at, layer, index }, query: { sign, labels: set!.id } },
          signal,
        }),
      ),
    enabled: set !== undefined,
    staleTime: Infinity,
  });
  return (
    <section className="panel" aria-labelledby="labels-title">
      <div className="panelhead">
        <h2 id="labels-title">Labels</h2>
        {told.data && <StatusBadge status={told.data.status} />}
      </div>
      {(sets.isPending || (set && told.isPending)) && <Loading what="labels" />}
      {sets.isError && <Refusal problem={sets.error} />}
      {told.isError && <Refusal problem={told.error} />}
      {sets.isSuccess && !set && <Unlabelled at={at} layer={layer} />}
      {told.data && told.data.scorers.length === 0 && <p className="muted">{STATUS[told.data.status].why}</p>}
      {told.data && told.data.scorers.length > 0 && (
        <>
          <LabelTable scorers={told.data.scorers} />
          <p className="muted small">
            From {set?.vocabulary.n} names ({words(set?.vocabulary.source ?? "")})
            {set?.candidates && <Proposed figures={set.candidates} layer={layer} names={told.data.candidates ?? []} />}. Held out: correlation of the label with activations of
            pictures that did not make it, with its 95 % interval. <Link to={`${snapshotPath(at)}/labels?labels=${set?.id}`}>Which scorer does best?</Link>
          </p>
        </>
      )}
    </section>
  );
}

/** What a vision-language model added to the names, and what it said about this component's pictures. */
function Proposed({ figures, layer, names }: { figures: CandidateFigures; layer: string; names: string[] }) {
  const added = figures.layers.find((one) => one.layer === layer)?.added ?? 0;
  return (
    <>
      {" "}
      and {added} that {figures.model} proposed, for this component {names.length > 0 ? names.join(", ") : "none"}
    </>
  );
}

export function StatusBadge({ status }: { status: LabelStatus }) {
  const { name, tone, why } = STATUS[status];
  return (
    <span className={`badge ${tone}`} title={why}>
      {name}
    </span>
  );
}

function LabelTable({ scorers }: { scorers: ScorerLabels[] }) {
  return (
    <div className="scroll">
      <table className="labels">
        <thead>
          <tr>
            <th scope="col">Scorer</th>
            <th scope="col">Label</th>
            <th scope="col" className="right">
              Score
            </th>
            <th scope="col">Runner-up</th>
            <th scope="col">Held out</th>
            <th scope="col">Status</th>
          </tr>
        </thead>
        <tbody>
          {scorers.map(({ scorer, labels, margin, evaluation, status }) => {
            const [first, second] = labels;
            return (
              <tr key={scorer}>
                <th scope="row">{words(scorer)}</th>
                <td title={labels.map((label) => `${label.text} ${figure(label.score)}`).join("\n")}>
                  <b>{first?.text ?? "–"}</b>
                </td>
                <td className="right">{figure(first?.score)}</td>
                <td>
                  {second ? second.text : "–"} <span className="muted num">{second && `−${figure(margin)}`}</span>
                </td>
                <td>
                  <IntervalBar value={evaluation.correlation} low={evaluation.low} high={evaluation.high} against={evaluation.random_correlation} />
                </td>
                <td>
                  <StatusBadge status={status} />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Unlabelled({ at, layer }: { at: string; layer: string }) {
  const may = useMay("submit");
  const label = useLabelling();
  return (
    <>
      <p className="muted">This layer has no labels yet.</p>
      <pre className="command spaced">
        xsys label build {at} --layer {layer}
      </pre>
      {may && (
        <p className="spaced">
          <button type="button" className="button" disabled={label.isPending} onClick={() => label.mutate({ snapshot: at, layers: [layer] })}>
            Label {layer}
          </button>
        </p>
      )}
      {label.isError && <Refusal problem={label.error} />}
    </>
  );
}
