import { useState } from "react";
import { Link } from "react-router";
import { api, ask, type SnapshotRequest } from "../api/client";
import { Choices } from "../parts/Choosers";
import { JobForm, NameField, NumberField, Pick } from "../parts/fields";
import { type Held, Ingredients, PickDataset, PickModel } from "../parts/Ingredients";
import { spread } from "../parts/layers";
import { useTitle } from "../parts/title";

const CROPS = ["none", "receptive-field", "activation-map", "relevance"] as const;
const CROP_NAMES = {
  none: "the whole picture",
  "receptive-field": "what the component can see",
  "activation-map": "where it is active",
  relevance: "the pixels that its activation comes from (LRP)",
};
const RANKS = ["activation", "both", "relevance"] as const;
const RANK_NAMES = {
  activation: "how strongly a component responds",
  both: "the same, with those that predictions rest on beside",
  relevance: "how much predictions rest on a component",
};
const RANKED = { activation: {}, both: { relevance: "epsilon" }, relevance: { rank_by: "relevance" } } as const;

/** Explain a model: what its components respond to on a dataset. */
export function NewSnapshotPage() {
  useTitle("Explain a model");
  return (
    <main className="page">
      <p className="crumbs">
        <Link to="/">Snapshots</Link> / Explain a model
      </p>
      <h1>Explain a model</h1>
      <p className="lead">
        A job finds which pictures each component of the chosen layers responds to, places them in the space of a vision and language
        model, and makes them searchable.
      </p>
      <Ingredients>{(held) => <Asked {...held} />}</Ingredients>
    </main>
  );
}

function Asked({ models, datasets }: Held) {
  const [model, setModel] = useState(models[0]?.ref.id ?? "");
  const [dataset, setDataset] = useState(datasets[0]?.ref.id ?? "");
  const [name, setName] = useState("");
  const [chosen, setChosen] = useState<string[] | null>(null);
  const [k, setK] = useState(30);
  const [crop, setCrop] = useState<(typeof CROPS)[number]>("none");
  const [rank, setRank] = useState<(typeof RANKS)[number]>("activation");
  const names = models.find((each) => each.ref.id === model)?.layers.map((layer) => layer.name) ?? [];
  const layers = chosen ?? spread(names, 5);
  const begin = () => ask(api.POST("/v1/snapshots", { body: { model, dataset, name, layers, k, crop, ...RANKED[rank] } as SnapshotRequest }));
  return (
    <JobForm button="Explain" begin={begin} ready={layers.length > 0}>
      <NameField label="Name of the snapshot" value={name} change={setName} />
      <PickModel
        label="Model"
        models={models}
        value={model}
        change={(id) => {
          setModel(id);
          setChosen(null);
        }}
      />
      <PickDataset label="Pictures" datasets={datasets} value={dataset} change={setDataset} />
      <details className="panel">
        <summary>
          Layers ({layers.length} of {names.length})
        </summary>
        <Choices title="Early to late" names={names} chosen={layers} most={names.length} change={(picked) => setChosen(names.filter((each) => picked.includes(each)))} />
      </details>
      <details className="panel">
        <summary>More</summary>
        <NumberField label="Examples kept for each component" value={k} min={5} max={200} change={setK} />
        <Pick label="Examples are ranked by" value={rank} among={RANKS} show={(each) => RANK_NAMES[each]} change={setRank} />
        <Pick label="Of each example is embedded" value={crop} among={CROPS} show={(each) => CROP_NAMES[each]} change={setCrop} />
      </details>
    </JobForm>
  );
}
