import { useState } from "react";
import { api, ask, type ModelRegistration } from "../api/client";
import { JobForm, NameField, NumberField, Pick, TextField } from "./fields";

const SOURCES = ["package", "file", "drawn"] as const;
const SOURCE_NAMES = { package: "brought by an installed package", file: "in a file on the server", drawn: "drawn from a seed, to be trained" };

/** Register a model by its architecture, with the weights that a package brings, that lie on the server, or new ones. */
export function NewModel() {
  const [name, setName] = useState("");
  const [architecture, setArchitecture] = useState("timm:tf_efficientnet_lite0");
  const [weights, setWeights] = useState("");
  const [source, setSource] = useState<(typeof SOURCES)[number]>("package");
  const [seed, setSeed] = useState(0);
  const body = {
    name,
    architecture,
    weights: source === "file" ? weights.trim() : null,
    initial_seed: source === "drawn" ? seed : null,
  } as ModelRegistration;
  return (
    <details className="panel spaced">
      <summary>Register a model</summary>
      <JobForm button="Register" begin={() => ask(api.POST("/v1/models", { body }))}>
        <NameField label="Name of the model" value={name} change={setName} />
        <TextField label="Architecture" value={architecture} change={setArchitecture} hint="timm:NAME, torchvision:NAME, open_clip:NAME, spiking:cnn" />
        <Pick label="Weights" value={source} among={SOURCES} show={(each) => SOURCE_NAMES[each]} change={setSource} />
        {source === "file" && (
          <label>
            File on the server
            <input required value={weights} maxLength={500} onChange={(event) => setWeights(event.target.value)} />
          </label>
        )}
        {source === "drawn" && <NumberField label="Seed" value={seed} min={0} max={2 ** 31 - 1} change={setSeed} />}
      </JobForm>
    </details>
  );
}
