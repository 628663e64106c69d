import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate } from "react-router";
import { api, ask, type Audit, type Correction, type Estimate } from "../api/client";
import { figure, plural } from "../format";
import { useMay } from "../session";
import { Columns } from "./Columns";
import { useListing } from "./listing";
import { Refusal } from "./states";

const USUAL = { verdicts: ["forbidden", "spurious"] as ("forbidden" | "spurious")[], most: 64, loss: 0.02, pictures: 1000, seed: 0 };
const LESSON = { steps: 400, batch: 64, learning_rate: 0.002, weight_decay: 0.01, pictures: 4000 };

/** What was done about an audit's flags, beside the controls, and a form for more. */
export function Repairs({ audit, readout }: { audit: Audit; readout: string }) {
  const may = useMay("register");
  const done = useQuery({
    queryKey: ["corrections", audit.id],
    queryFn: ({ signal }) => ask(api.GET("/v1/audits/{audit}/corrections", { params: { path: { audit: audit.id } }, signal })),
  });
  const repairs = (done.data?.items ?? []).filter((each) => each.readout === readout);
  return (
    <section className="spaced" aria-labelledby="repairs-title">
      <h2 id="repairs-title">Repairs</h2>
      {done.isError && <Refusal problem={done.error} />}
      {done.data && repairs.length === 0 && <p className="muted">Nothing was repaired for {readout} yet.</p>}
      {repairs.map((each) => (
        <Repair key={each.id} of={each} />
      ))}
      {may && <RepairForm key={readout} audit={audit} readout={readout} />}
    </section>
  );
}

function Repair({ of }: { of: Correction }) {
  const retrained = of.method === "retrain";
  const instead = retrained ? "telling" : "instead";
  const rows = [
    ["before", of.before],
    [retrained ? "retrained" : "suppressed", of.after],
    [`random units ${instead}`, of.random],
    [`least active units ${instead}`, of.magnitude],
    ...(of.suppressed ? ([["suppressed, not retrained", of.suppressed]] as const) : []),
  ] as const;
  return (
    <div className="table-wrap spaced">
      <table>
        <caption>
          <Link to="/models">{of.name}</Link>: {plural(of.units.length, "component")} of <span className="mono">{of.layer}</span>{" "}
          {retrained ? "told which pictures to balance" : "suppressed"}
        </caption>
        <Columns names={["", "Clean accuracy", `With the artefact, not ${of.readout}`, `AUROC of the score of ${of.readout}`]} />
        <tbody>
          {rows.map(([title, figures]) => (
            <tr key={title}>
              <th scope="row">{title}</th>
              <Cell of={figures.clean} />
              <Cell of={figures.artefact} />
              <Cell of={figures.separation} />
            </tr>
          ))}
        </tbody>
      </table>
      {(of.groups ?? []).length > 0 && (
        <p className="small muted">
          Trained on, without and with what those components react to:{" "}
          {(of.groups ?? []).map((each) => `${each.label} ${each.without} and ${each.present}`).join(", ")}.
        </p>
      )}
    </div>
  );
}

function Cell({ of }: { of: Estimate | null | undefined }) {
  if (!of) return <td className="muted">–</td>;
  return (
    <td title={`${of.n} pictures`}>
      <span className="num">{figure(of.value, 3)}</span>{" "}
      <span className="num small muted">
        {figure(of.low, 3)} to {figure(of.high, 3)}
      </span>
    </td>
  );
}

function RepairForm({ audit, readout }: { audit: Audit; readout: string }) {
  const navigate = useNavigate();
  const datasets = useListing("/v1/datasets");
  const [name, setName] = useState("");
  const [clean, setClean] = useState("");
  const [artefact, setArtefact] = useState("");
  const [lesson, setLesson] = useState<string[]>([]);
  const begin = useMutation({
    mutationFn: () =>
      ask(
        api.POST("/v1/corrections", {
          body: {
            ...USUAL,
            audit: audit.id,
            readout,
            name,
            clean,
            artefact,
            retrain: lesson.length > 0 ? { ...LESSON, datasets: lesson } : null,
          },
        }),
      ),
    onSuccess: (job) => navigate(`/jobs/${job.id}`),
  });
  const pictures = datasets.items.filter((each) => each.labels.length > 0);
  const options = pictures.map((each) => (
    <option key={each.ref.id} value={each.ref.id}>
      {each.ref.name}
    </option>
  ));
  return (
    <details className="panel">
      <summary>Repair the model</summary>
      <form
        className="stacked spaced"
        onSubmit={(event) => {
          event.preventDefault();
          begin.mutate();
        }}
      >
        <label>
          Name of the new model <input required value={name} maxLength={100} onChange={(event) => setName(event.target.value)} />
        </label>
        <label>
          Judged on pictures without the artefact{" "}
          <select required value={clean} onChange={(event) => setClean(event.target.value)}>
            <option value="">choose</option>
            {options}
          </select>
        </label>
        <label>
          and with it{" "}
          <select required value={artefact} onChange={(event) => setArtefact(event.target.value)}>
            <option value="">choose</option>
            {options}
          </select>
        </label>
        <label>
          Retrain on (none: only suppress what is flagged){" "}
          <select multiple size={4} value={lesson} onChange={(event) => setLesson([...event.target.selectedOptions].map((each) => each.value))}>
            {options}
          </select>
        </label>
        <p className="small muted">
          Retraining takes batches in which every class comes as often with what the flagged components react to as without it.
        </p>
        <button type="submit" className="button primary" disabled={begin.isPending}>
          Begin
        </button>
        {begin.isError && <Refusal problem={begin.error} />}
      </form>
    </details>
  );
}
