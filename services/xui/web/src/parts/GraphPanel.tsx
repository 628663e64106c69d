import { useMutation } from "@tanstack/react-query";
import { Link } from "react-router";
import { api, ask, type ComponentGraph, type Snapshot } from "../api/client";
import { figure, percent, plural, words } from "../format";
import { BOX, placed, wire } from "./lineage";
import { componentPath } from "./links";
import type { OnBench } from "./PictureBench";
import { Refusal } from "./states";

interface Props {
  model: OnBench["model"];
  source: OnBench["source"];
  snapshot: Snapshot | undefined;
  target: number | null;
  layers: string[];
}

const COMPONENTS = 4;

/** How the components behind a prediction feed each other, asked for when somebody wants it: it costs many passes. */
export function GraphPanel({ model, source, snapshot, target, layers }: Props) {
  const rule = model.layers.some((layer) => layer.kind === "map") ? "epsilon" : "attnlrp";
  const graph = useMutation({
    mutationFn: () =>
      ask(
        api.POST("/v1/models/{model}/component-graph", {
          params: { path: { model: model.ref.id } },
          body: { ...source, target, layers: layers.slice(0, 6), rule, components: COMPONENTS, fallback: "gradient", check: true },
        }),
      ),
  });
  if (layers.length < 2) return <p className="muted small">Choose two layers or more to see what flows between their components.</p>;
  return (
    <div className="spaced">
      <button type="button" className="button" disabled={graph.isPending} onClick={() => graph.mutate()}>
        {graph.isPending ? "Propagating …" : "What flows between them"}
      </button>
      {graph.isError && <Refusal problem={graph.error} />}
      {graph.data && <Drawn graph={graph.data} snapshot={snapshot} />}
    </div>
  );
}

function Drawn({ graph, snapshot }: { graph: ComponentGraph; snapshot: Snapshot | undefined }) {
  const level = new Map(graph.layers.map((layer, number) => [layer, number]));
  const { boxes, width, height } = placed(graph.nodes.map((node) => level.get(node.layer) ?? 0));
  const largest = Math.max(...graph.edges.map((edge) => Math.abs(edge.relevance)), 1e-30);
  const paged = (layer: string) => snapshot?.layers.some((each) => each.name === layer);
  const told = `${plural(graph.nodes.length, "component")} by ${words(graph.rule)}, from the output on the left to earlier layers; ${plural(graph.edges.length, "flow")} between them`;
  return (
    <figure className="componentgraph">
      <svg viewBox={`-4 -22 ${width + 8} ${height + 26}`} style={{ maxWidth: width + 8 }} role="group" aria-label={told}>
        {graph.layers.map((layer, number) => (
          <text key={layer} x={number * (BOX.width + BOX.across)} y={-8} className="muted">
            {layer}
          </text>
        ))}
        {graph.edges.map((edge) => (
          <path
            key={`${edge.source}-${edge.target}`}
            className={edge.relevance < 0 ? "flow against" : "flow for"}
            d={wire(boxes[edge.source]!, boxes[edge.target]!)}
            strokeWidth={0.4 + 6 * (Math.abs(edge.relevance) / largest)}
          >
            <title>
              {graph.nodes[edge.source]!.index} → {graph.nodes[edge.target]!.index}: {figure(edge.relevance, 3)}
              {edge.effect != null && `; ${figure(edge.effect, 3)} goes with the latter when it is ablated`}
            </title>
          </path>
        ))}
        {boxes.map(({ step, x, y }) => {
          const node = graph.nodes[step]!;
          const name = `${node.layer} · ${node.index}`;
          const box = (
            <>
              <title>
                {name}
                {node.effect != null && `: the score falls by ${figure(node.effect, 3)} when it is ablated`}
              </title>
              <rect width={BOX.width} height={BOX.height} rx="6" />
              <text x="10" y="20" className="stage">
                {node.index}
              </text>
              <text x="10" y="37">
                {node.share < 0 ? "−" : "+"}
                {percent(Math.abs(node.share))} of the layer
              </text>
            </>
          );
          return (
            <g key={step} className="box" transform={`translate(${x} ${y})`}>
              {paged(node.layer) && snapshot ? (
                <Link to={componentPath(snapshot.id, { layer: node.layer, index: node.index })} aria-label={name}>
                  {box}
                </Link>
              ) : (
                box
              )}
            </g>
          );
        })}
      </svg>
      <figcaption className="muted small">
        Relevance by {words(graph.rule)}: a line is the part of a component's relevance that reaches one of the next layer, thick where it is much. Parts through
        components that are not shown are left out.
        {graph.check && (
          <>
            {" "}
            Checked by ablation, rank correlation: components {figure(graph.check.nodes)}, flows {figure(graph.check.edges)}.
          </>
        )}
      </figcaption>
    </figure>
  );
}
