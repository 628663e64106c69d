import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useLocation, useParams, useSearchParams } from "react-router";
import { api, ask, type ComponentDetail, type Snapshot } from "../api/client";
import { figure, percent, plural, signMark } from "../format";
import { ComponentLabels } from "../parts/ComponentLabels";
import { Examples } from "../parts/Examples";
import { ExamplesAlong } from "../parts/ExamplesAlong";
import { Gallery } from "../parts/Gallery";
import { HistogramChart } from "../parts/HistogramChart";
import { LineageLink } from "../parts/LineageLink";
import { componentName, componentPath, likePath, snapshotPath } from "../parts/links";
import { Metrics } from "../parts/Metrics";
import { PinButton } from "../parts/PinButton";
import { useSnapshot } from "../parts/snapshot";
import { Loading, Refusal } from "../parts/states";
import { Thumb } from "../parts/Thumb";
import { steerPath } from "../parts/steer";
import { useTitle } from "../parts/title";
import { useMay } from "../session";

interface Ref {
  layer: string;
  index: number;
  sign: 1 | -1;
}

export function ComponentPage() {
  const { snapshot: at = "", layer = "", index = "" } = useParams();
  const [search] = useSearchParams();
  const ref: Ref = { layer, index: Number(index), sign: search.get("sign") === "-1" ? -1 : 1 };
  const snapshot = useSnapshot(at);
  const detail = useQuery({
    queryKey: ["component", at, ref],
    queryFn: ({ signal }) =>
      ask(
        api.GET("/v1/snapshots/{snapshot}/components/{layer}/{index}", {
          params: { path: { snapshot: at, layer, index: ref.index }, query: { sign: ref.sign } },
          signal,
        }),
      ),
    staleTime: Infinity,
    placeholderData: keepPreviousData,
  });
  useTitle(`${componentName(ref, ref.sign === -1)} · ${at}`);
  return (
    <main className="page">
      {snapshot.isError && <Refusal problem={snapshot.error} retry={() => void snapshot.refetch()} />}
      {snapshot.data && <Head snapshot={snapshot.data} at={at} of={ref} />}
      {detail.isError && !snapshot.isError && <Refusal problem={detail.error} retry={() => void detail.refetch()} />}
      {(detail.isPending || snapshot.isPending) && <Loading what="the component" />}
      {detail.data && snapshot.data && (
        <div className={detail.isPlaceholderData ? "stale" : undefined} aria-busy={detail.isPlaceholderData}>
          <Detail snapshot={snapshot.data} at={at} detail={detail.data} />
        </div>
      )}
    </main>
  );
}

function Head({ snapshot, at, of: ref }: { snapshot: Snapshot; at: string; of: Ref }) {
  const maySteer = useMay("steer");
  const state = useLocation().state as { results?: string } | null;
  const layer = snapshot.layers.find((each) => each.name === ref.layer);
  const beside = (step: number) => componentPath(at, { ...ref, index: ref.index + step });
  return (
    <>
      <p className="crumbs">
        <Link to="/">Snapshots</Link> / <Link to={snapshotPath(at)}>{snapshot.name}</Link> / {ref.layer}
        {state?.results && (
          <>
            {" "}
            · <Link to={snapshotPath(at) + state.results}>back to the results</Link>
          </>
        )}
      </p>
      <div className="titlerow">
        <h1>
          <span className="mono">{ref.layer}</span> · {ref.index}
          {layer?.signed && ` · ${signMark(ref.sign)}`}
        </h1>
        <nav className="actions" aria-label="Component">
          {layer?.signed && (
            <Link className="button" to={componentPath(at, { ...ref, sign: -ref.sign })} replace state={state}>
              {ref.sign === 1 ? "Negative side" : "Positive side"}
            </Link>
          )}
          <Step to={ref.index > 0 ? beside(-1) : null} state={state} name="← Previous" />
          <Step to={layer && ref.index + 1 < layer.width ? beside(1) : null} state={state} name="Next →" />
          <PinButton snapshot={snapshot} of={ref} />
          {maySteer && (
            <Link className="button" to={steerPath(snapshot.model.id, ref.layer, [ref.index])}>
              Steer
            </Link>
          )}
          <Link className="button primary" to={likePath(at, ref)}>
            Search like this
          </Link>
        </nav>
      </div>
    </>
  );
}

function Step({ to, name, state }: { to: string | null; name: string; state: unknown }) {
  if (to === null)
    return (
      <span className="button" aria-disabled="true">
        {name}
      </span>
    );
  return (
    <Link className="button" to={to} state={state}>
      {name}
    </Link>
  );
}

const WHY = {
  ok: null,
  dead: "This component is dead: no picture of the dataset activates it, so it has no meaning to show.",
  insufficient_evidence: "Too few pictures activate this component to say what it responds to; it is not part of searches.",
} as const;

function Detail({ snapshot, at, detail }: { snapshot: Snapshot; at: string; detail: ComponentDetail }) {
  const { component, examples, lowest } = detail;
  const dataset = snapshot.dataset.id;
  const opposite = component.ref.sign === 1 ? "Lowest examples" : "Opposite end: highest activations";
  const range = rangeOf(examples.map((example) => example.activation));
  return (
    <>
      {WHY[component.state] !== null && <p className="notice">{WHY[component.state]}</p>}
      <Metrics component={component} />
      <div className="withside folding">
        <div className="mainside">
          <Examples snapshot={snapshot} at={at} detail={detail} />
          <ComponentLabels at={at} layer={component.ref.layer} index={component.ref.index} sign={component.ref.sign} />
          <ExamplesAlong snapshot={snapshot} at={at} of={component.ref} />
          {lowest.length > 0 && (
            <section className="panel" aria-labelledby="lowest-title">
              <h2 id="lowest-title">
                {opposite} <span className="muted">{lowest.length}</span>
              </h2>
              <Gallery dataset={dataset} at={at} examples={lowest} label={opposite} />
            </section>
          )}
        </div>
        <aside aria-label="Figures">
          <section className="panel" aria-labelledby="histogram-title">
            <h2 id="histogram-title">All activations</h2>
            <HistogramChart histogram={detail.histogram} range={range} />
            <p className="muted small">
              Over {plural(snapshot.dataset.n, "picture")}; counts on a logarithmic scale.
              {range !== null && " Coloured: the range of the strongest examples."}
            </p>
          </section>
          {detail.prototypes.length > 0 && <Prototypes detail={detail} dataset={dataset} />}
          <p className="small">
            <LineageLink of={detail.lineage} />
          </p>
          {detail.nearest.length > 0 && <Nearest snapshot={snapshot} at={at} detail={detail} />}
        </aside>
      </div>
    </>
  );
}

const rangeOf = (values: number[]) => (values.length === 0 ? null : ([Math.min(...values), Math.max(...values)] as const));

function Prototypes({ detail, dataset }: { detail: ComponentDetail; dataset: string }) {
  return (
    <section className="panel" aria-labelledby="prototypes-title">
      <h2 id="prototypes-title">Prototypes</h2>
      <ol className="prototypes">
        {detail.prototypes.map((prototype, i) => (
          <li key={i}>
            <p className="num">
              <b>{percent(prototype.share)}</b> <span className="muted">of the examples</span>
            </p>
            <span className="thumbs four">
              {prototype.members.slice(0, 4).map((member) => {
                const example = detail.examples[member];
                return example && <Thumb key={member} dataset={dataset} example={example} />;
              })}
            </span>
          </li>
        ))}
      </ol>
      <p className="muted small">Groups of examples that resemble each other: each is one meaning.</p>
    </section>
  );
}

function Nearest({ snapshot, at, detail }: { snapshot: Snapshot; at: string; detail: ComponentDetail }) {
  const signed = new Set(snapshot.layers.filter((layer) => layer.signed).map((layer) => layer.name));
  return (
    <section className="panel" aria-labelledby="nearest-title">
      <h2 id="nearest-title">Nearest components</h2>
      <ol className="nearest">
        {detail.nearest.map(({ component, score }) => (
          <li key={componentPath(at, component)}>
            <Link to={componentPath(at, component)}>{componentName(component, signed.has(component.layer))}</Link>
            <span className="num">{figure(score)}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}
