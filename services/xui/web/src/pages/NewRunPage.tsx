import { useState } from "react";
import { Link } from "react-router";
import { api, ask, type PruningRequest, type TrainingRequest } from "../api/client";
import { useAddress } from "../parts/address";
import { JobForm, NameField, NumberField, Pick } from "../parts/fields";
import { type Held, Ingredients, PickDataset, PickModel } from "../parts/Ingredients";
import { useTitle } from "../parts/title";

const METHODS = ["lfp", "gradient"] as const;
const METHOD_NAMES = { lfp: "Layer-wise Feedback Propagation", gradient: "gradients" };
const REWARDS = ["softmax", "sigmoid", "margin", "misclassification", "correct", "rate_coded"] as const;
const OPTIMIZERS = ["sgd", "adam"] as const;
const DEVICES = ["cpu", "cuda"] as const;
const CRITERIA = ["relevance", "abs_relevance", "magnitude", "random"] as const;
const CRITERION_NAMES = { relevance: "relevance", abs_relevance: "relevance without sign", magnitude: "size of the weights", random: "chance" };

/** Train a registered model, or prune it. */
export function NewRunPage() {
  const [search, setSearch] = useAddress();
  const pruning = search.get("kind") === "pruning";
  useTitle(pruning ? "Prune a model" : "Train a model");
  return (
    <main className="page">
      <p className="crumbs">
        <Link to="/runs">Training runs</Link> / {pruning ? "Prune a model" : "Train a model"}
      </p>
      <h1>{pruning ? "Prune a model" : "Train a model"}</h1>
      <p className="lead">
        {pruning
          ? "Whole channels go, least worth first, as far as the loss of accuracy allows; what is left is faster on any machine."
          : "A new version of a registered model, trained on the labels of a dataset. Each epoch is kept."}{" "}
        <button type="button" className="button" onClick={() => setSearch(pruning ? {} : { kind: "pruning" }, { replace: true })}>
          {pruning ? "Train instead" : "Prune instead"}
        </button>
      </p>
      <Ingredients labelled>{(held) => (pruning ? <PruningForm {...held} /> : <TrainingForm {...held} />)}</Ingredients>
    </main>
  );
}

interface Chosen {
  name: string;
  model: string;
  dataset: string;
}

function What({ models, datasets, chosen, change }: Held & { chosen: Chosen; change: (chosen: Chosen) => void }) {
  return (
    <>
      <NameField label="Name of the new model" value={chosen.name} change={(name) => change({ ...chosen, name })} />
      <PickModel label="Model to begin with" models={models} value={chosen.model} change={(model) => change({ ...chosen, model })} />
      <PickDataset label="Pictures with labels" datasets={datasets} value={chosen.dataset} change={(dataset) => change({ ...chosen, dataset })} />
    </>
  );
}

const first = ({ models, datasets }: Held): Chosen => ({ name: "", model: models[0]?.ref.id ?? "", dataset: datasets[0]?.ref.id ?? "" });

function TrainingForm(held: Held) {
  const [chosen, setChosen] = useState(() => first(held));
  const [how, setHow] = useState({ epochs: 5, learning_rate: 0.1, batch: 32, patience: 0, seed: 0 });
  const [method, setMethod] = useState<(typeof METHODS)[number]>("lfp");
  const [reward, setReward] = useState<(typeof REWARDS)[number]>("softmax");
  const [optimizer, setOptimizer] = useState<(typeof OPTIMIZERS)[number]>("sgd");
  const [device, setDevice] = useState<(typeof DEVICES)[number]>("cpu");
  const spikes = held.models.some((each) => each.ref.id === chosen.model && each.ref.architecture.startsWith("spiking:"));
  const rewards: readonly (typeof REWARDS)[number][] = spikes ? REWARDS : REWARDS.filter((each) => each !== "rate_coded");
  const offered = method === "lfp" && rewards.includes(reward) ? reward : "softmax";
  const asked = { ...chosen, ...how, patience: how.patience || null, method, optimizer, device, reward: offered };
  return (
    <JobForm button="Train" begin={() => ask(api.POST("/v1/trainings", { body: asked as TrainingRequest }))}>
      <What {...held} chosen={chosen} change={setChosen} />
      <Pick label="By" value={method} among={METHODS} show={(each) => METHOD_NAMES[each]} change={setMethod} />
      {method === "lfp" && <Pick label="Reward" value={offered} among={rewards} change={setReward} />}
      <NumberField label="Epochs" value={how.epochs} min={1} max={200} change={(epochs) => setHow({ ...how, epochs })} />
      <NumberField label="Learning rate" value={how.learning_rate} min={0} max={100} step="any" change={(learning_rate) => setHow({ ...how, learning_rate })} />
      <details className="panel">
        <summary>More</summary>
        <Pick label="Optimiser" value={optimizer} among={OPTIMIZERS} change={setOptimizer} />
        <NumberField label="Pictures a step" value={how.batch} min={2} max={1024} change={(batch) => setHow({ ...how, batch })} />
        <NumberField label="Stop after so many epochs without a better accuracy (0: never)" value={how.patience} min={0} max={200} change={(patience) => setHow({ ...how, patience })} />
        <NumberField label="Seed" value={how.seed} min={0} max={2 ** 31 - 1} change={(seed) => setHow({ ...how, seed })} />
        <Pick label="Device" value={device} among={DEVICES} change={setDevice} />
      </details>
    </JobForm>
  );
}

function PruningForm(held: Held) {
  const [chosen, setChosen] = useState(() => first(held));
  const [how, setHow] = useState({ loss: 2, epochs: 0, learning_rate: 0.01, seed: 0 });
  const [criterion, setCriterion] = useState<(typeof CRITERIA)[number]>("relevance");
  const asked = { ...chosen, ...how, loss: how.loss / 100, criterion };
  return (
    <JobForm button="Prune" begin={() => ask(api.POST("/v1/prunings", { body: asked as PruningRequest }))}>
      <What {...held} chosen={chosen} change={setChosen} />
      <Pick label="What a channel is worth" value={criterion} among={CRITERIA} show={(each) => CRITERION_NAMES[each]} change={setCriterion} />
      <NumberField label="Points of accuracy that may be lost" value={how.loss} min={0} max={100} step="any" change={(loss) => setHow({ ...how, loss })} />
      <NumberField label="Epochs of training after pruning" value={how.epochs} min={0} max={200} change={(epochs) => setHow({ ...how, epochs })} />
      <details className="panel">
        <summary>More</summary>
        <NumberField label="Learning rate" value={how.learning_rate} min={0} max={100} step="any" change={(learning_rate) => setHow({ ...how, learning_rate })} />
        <NumberField label="Seed" value={how.seed} min={0} max={2 ** 31 - 1} change={(seed) => setHow({ ...how, seed })} />
      </details>
    </JobForm>
  );
}
