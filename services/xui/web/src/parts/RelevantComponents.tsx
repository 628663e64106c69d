import { useMutation, useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { api, ask, type LayerRelevance, type Snapshot } from "../api/client";
import { figure, percent, words } from "../format";
import { componentPath } from "./links";
import { Refusal } from "./states";
import { steerPath } from "./steer";
import { Thumb } from "./Thumb";
import { useMay } from "../session";

interface Props {
  model: string;
  layer: LayerRelevance;
  target: number;
  sample: { dataset: string; index: number } | null;
  snapshot: Snapshot | undefined;
}

/** The components of a layer that this prediction rests on, each with what else activates it. */
export function RelevantComponents({ model, layer, target, sample, snapshot }: Props) {
  const maySteer = useMay("steer");
  const shown = snapshot?.layers.find((each) => each.name === layer.layer);
  const largest = Math.max(...layer.components.map((each) => Math.abs(each.share)), 1e-9);
  return (
    <section className="panel" aria-label={`Components of ${layer.layer}`}>
      <div className="panelhead">
        <h3>
          <span className="mono">{layer.layer}</span> <span className="muted small">by {words(layer.rule)}</span>
        </h3>
        {maySteer && sample && layer.components.length > 0 && (
          <Link className="button small" to={steerPath(model, layer.layer, strongest(layer), { dataset: sample.dataset, sample: String(sample.index), target: String(target) })}>
            Steer the strongest
          </Link>
        )}
      </div>
      <ol className="relevant" aria-label={`Most relevant components of ${layer.layer}`}>
        {layer.components.map((each) => (
          <li key={each.index}>
            {shown && snapshot ? (
              <Link to={componentPath(snapshot.id, { layer: layer.layer, index: each.index })}>{each.index}</Link>
            ) : (
              <span>{each.index}</span>
            )}
            <Share share={each.share} largest={largest} />
            {shown && snapshot && <Examples snapshot={snapshot} layer={layer.layer} index={each.index} />}
          </li>
        ))}
      </ol>
      {sample && <Check model={model} layer={layer.layer} target={target} sample={sample} />}
    </section>
  );
}

const STRONGEST = 3;

const strongest = (layer: LayerRelevance): number[] => layer.components.slice(0, STRONGEST).map((each) => each.index);

/** A bar to the right for relevance that speaks for the output, to the left for what speaks against it. */
function Share({ share, largest }: { share: number; largest: number }) {
  const width = `${(Math.abs(share) / largest) * 50}%`;
  const against = share < 0;
  return (
    <span className="share">
      <span className="mid" aria-hidden="true">
        <span className={against ? "against" : "for"} style={against ? { right: "50%", width } : { left: "50%", width }} />
      </span>
      <span className="num" title="Share of the layer's absolute relevance">
        {against ? "−" : "+"}
        {percent(Math.abs(share))}
      </span>
    </span>
  );
}

function Examples({ snapshot, layer, index }: { snapshot: Snapshot; layer: string; index: number }) {
  const detail = useQuery({
    queryKey: ["component", snapshot.id, { layer, index, sign: 1 }],
    queryFn: ({ signal }) =>
      ask(
        api.GET("/v1/snapshots/{snapshot}/components/{layer}/{index}", {
          params: { path: { snapshot: snapshot.id, layer, index }, query: { sign: 1 } },
          signal,
        }),
      ),
    staleTime: Infinity,
  });
  return (
    <span className="thumbs four">
      {detail.data?.examples.slice(0, 4).map((example) => (
        <Thumb key={example.sample} dataset={snapshot.dataset.id} example={example} />
      ))}
    </span>
  );
}

const ABLATED = 64;

/** Relevance is a claim; setting components to zero one by one tells whether it holds. */
function Check({ model, layer, target, sample }: Pick<Props, "model" | "target"> & { layer: string; sample: NonNullable<Props["sample"]> }) {
  const check = useMutation({
    mutationFn: () =>
      ask(
        api.POST("/v1/models/{model}/component-relevance", {
          params: { path: { model } },
          body: { layer, target, dataset: sample.dataset, samples: [sample.index], rule: "activation_x_gradient", ablate: ABLATED },
        }),
      ),
  });
  if (check.data)
    return (
      <p className="small" role="status">
        Checked by ablating {check.data.checked} components: rank correlation with the effect{" "}
        <b className="num">{figure(check.data.spearman)}</b>; area under the score, strongest first{" "}
        <b className="num">{figure(check.data.deletion)}</b>, at random <b className="num">{figure(check.data.random)}</b>.{" "}
        {verdict(check.data.deletion, check.data.random)}
      </p>
    );
  return (
    <>
      <button type="button" className="button small" disabled={check.isPending} onClick={() => check.mutate()}>
        {check.isPending ? "Ablating …" : "Check by ablation"}
      </button>
      {check.isError && <Refusal problem={check.error} />}
    </>
  );
}

function verdict(deletion: number | null | undefined, random: number | null | undefined): string {
  if (deletion == null || random == null) return "";
  return deletion < random ? "The relevant ones carry the score." : "The score does not rest on these more than on others.";
}
