import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, ask, type ComponentDetail, type ComponentRef, type Crop, type Example, type Snapshot } from "../api/client";
import { percent } from "../format";
import { Pick } from "./fields";
import { Gallery } from "./Gallery";
import { Refusal } from "./states";

const RANKS = { activation: "how strongly it responds", relevance: "how much predictions rest on it" };
const VIEWS = { whole: "the whole picture", "activation-map": "where it is active", relevance: "what it saw, by relevance" };
type Rank = keyof typeof RANKS;
type View = keyof typeof VIEWS;

/** The pictures that stand for a component, ranked by activation or relevance, whole or cut to what it saw. */
export function Examples({ snapshot, at, detail }: { snapshot: Snapshot; at: string; detail: ComponentDetail }) {
  const own: Rank = snapshot.request.rank_by ?? "activation";
  const others = detail.others ?? [];
  const [rank, setRank] = useState<Rank>(own);
  const [view, setView] = useState<View>("whole");
  const both = snapshot.request.relevance != null;
  const ranked = both ? rank : own;
  const examples = ranked === own ? detail.examples : others;
  const cut = useCrops(snapshot, detail.component.ref, examples, view);
  const name = ranked === "activation" ? "Strongest examples" : "Most relevant examples";
  return (
    <section className="panel" aria-labelledby="examples-title" aria-busy={cut.isFetching}>
      <div className="panelhead">
        <h2 id="examples-title">
          {name} <span className="muted">{examples.length}</span>
        </h2>
        <div className="actions">
          {both && <Pick label="Ranked by" value={rank} among={Object.keys(RANKS) as Rank[]} show={(each) => RANKS[each]} change={setRank} />}
          {examples.length > 0 && <Pick label="Show" value={view} among={Object.keys(VIEWS) as View[]} show={(each) => VIEWS[each]} change={setView} />}
        </div>
      </div>
      {cut.isError && <Refusal problem={cut.error} />}
      {examples.length > 0 ? (
        <Gallery dataset={snapshot.dataset.id} at={at} examples={examples} label={name} crops={cut.data?.bySample} />
      ) : (
        <p className="muted">{ranked === "relevance" ? "No prediction rests on this component." : "There are none."}</p>
      )}
      {ranked === "relevance" && (
        <p className="muted small">
          Relevance is the part of the predicted output's score that came through this component, by {snapshot.request.relevance ?? "the rule of the snapshot"}.
        </p>
      )}
      {cut.data && <p className="muted small">{cut.data.told}</p>}
    </section>
  );
}

function useCrops(snapshot: Snapshot, { layer, index, sign }: ComponentRef, examples: Example[], view: View) {
  const samples = examples.slice(0, 64).map((example) => example.sample);
  return useQuery({
    queryKey: ["crops", snapshot.model.id, snapshot.dataset.id, layer, index, sign, samples, view],
    enabled: view !== "whole" && samples.length > 0,
    staleTime: Infinity,
    queryFn: async ({ signal }) => {
      const body = { layer, index, sign, dataset: snapshot.dataset.id, samples, method: view === "relevance" ? view : ("activation-map" as const) };
      const found = await ask(api.POST("/v1/models/{model}/crops", { params: { path: { model: snapshot.model.id } }, body, signal }));
      const whole = found.crops.filter((crop) => crop.whole).length;
      const by = found.rule ? `relevance, rule ${found.rule},` : "its activation map";
      return {
        bySample: new Map<number, Crop>(found.crops.map((crop) => [crop.sample, crop])),
        told: `Cut by ${by} above ${percent(found.threshold)} of its largest value; the median cut is ${percent(found.median_share)} of a picture.${whole ? ` ${whole} could not be cut.` : ""}`,
      };
    },
  });
}
