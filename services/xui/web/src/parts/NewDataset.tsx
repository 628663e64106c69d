import { useState } from "react";
import { api, ask, type DatasetRegistration, send } from "../api/client";
import { percent } from "../format";
import { Bar } from "./Bar";
import { JobForm, NameField, NumberField, Pick } from "./fields";

const KINDS = ["upload", "demo", "scenes"] as const;
const KIND_NAMES = {
  upload: "a zip of pictures from this machine",
  demo: "crops of the photographs that Python packages bring",
  scenes: "generated scenes of six shapes",
};

/** Register pictures: a zip that is sent from here, or one of the sets that come along. */
export function NewDataset() {
  const [name, setName] = useState("");
  const [kind, setKind] = useState<(typeof KINDS)[number]>("upload");
  const [file, setFile] = useState<File | null>(null);
  const [sent, setSent] = useState<number | null>(null);
  const [n, setN] = useState(1056);
  const begin = async () => {
    let source: object = kind === "demo" ? { kind, crops: n } : { kind, n };
    if (kind === "upload" && file) {
      setSent(0);
      try {
        source = { kind, upload: (await send(file, setSent)).upload };
      } finally {
        setSent(null);
      }
    }
    return ask(api.POST("/v1/datasets", { body: { name, source } as DatasetRegistration }));
  };
  return (
    <details className="panel spaced">
      <summary>Register pictures</summary>
      <JobForm button="Register" begin={begin} ready={kind !== "upload" || file !== null}>
        <NameField label="Name of the dataset" value={name} change={setName} />
        <Pick label="Made of" value={kind} among={KINDS} show={(each) => KIND_NAMES[each]} change={setKind} />
        {kind === "upload" ? (
          <label>
            Zip, with a folder for each label or none
            <input type="file" accept=".zip,application/zip" required onChange={(event) => setFile(event.target.files?.[0] ?? null)} />
          </label>
        ) : (
          <NumberField label="Pictures" value={n} min={kind === "demo" ? 22 : 1} max={100_000} change={setN} />
        )}
        {sent !== null && (
          <p className="actions">
            <Bar share={sent} label="Sent so far" state="running" /> <span className="num small">{percent(sent)}</span>
          </p>
        )}
      </JobForm>
    </details>
  );
}
