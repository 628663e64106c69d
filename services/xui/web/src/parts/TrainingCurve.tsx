import { Link } from "react-router";
import type { EpochFigures, Job } from "../api/client";
import { count, figure, percent } from "../format";
import { curveRows, measuresOf, seriesOf, useCurve, WEIGHTS, weightSeries } from "./curves";
import { csvText, download } from "./download";
import { hasEnded } from "./jobs";
import { LineChart } from "./LineChart";
import { Loading, Refusal } from "./states";
import "../styles/training.css";

const EVERY = 1500;

/** How a training goes, epoch by epoch, while it runs and after. */
export function TrainingCurve({ job }: { job: Job }) {
  const curve = useCurve(job.id, hasEnded(job) ? false : EVERY);
  const epochs = curve.data?.epochs ?? [];
  return (
    <section className="spaced" aria-labelledby="curve-title">
      <div className="titlerow">
        <h2 id="curve-title">Epochs</h2>
        <p className="actions">
          {epochs.length > 0 && (
            <button type="button" className="button" onClick={() => download(`${job.id}.csv`, "text/csv", csvText(curveRows([{ name: job.title, epochs }])))}>
              Save as CSV
            </button>
          )}
          <Link className="button" to={`/runs?job=${job.id}`}>
            Compare with other runs
          </Link>
        </p>
      </div>
      {curve.isPending && <Loading what="the curve" />}
      {curve.isError && <Refusal problem={curve.error} />}
      {curve.isSuccess && epochs.length === 0 && (
        <p className="muted">{hasEnded(job) ? "No epoch was finished." : "The first epoch is not finished yet; curves appear here by themselves."}</p>
      )}
      {curve.data?.stopped && <p className="notice">Patience ran out: the best epoch was kept.</p>}
      {epochs.length > 0 && (
        <>
          <div className="charts spaced">
            {measuresOf(epochs).map(({ key, name, pair }) => (
              <LineChart
                key={key}
                title={name}
                across="epoch"
                file={`${job.id}-${key}`}
                series={pair ? [seriesOf("training", epochs, key), seriesOf("validation", epochs, pair)] : [seriesOf(name, epochs, key)]}
              />
            ))}
            <Weights job={job} epochs={epochs} />
          </div>
          <EpochTable epochs={epochs} />
        </>
      )}
    </section>
  );
}

function Weights({ job, epochs }: { job: Job; epochs: EpochFigures[] }) {
  const first = weightSeries("after the first epoch", epochs[0]);
  const last = epochs.length > 1 ? weightSeries("after the last one", epochs.at(-1)) : [];
  return first.length > 0 ? <LineChart {...WEIGHTS} file={`${job.id}-weights`} series={[...first, ...last]} /> : null;
}

function EpochTable({ epochs }: { epochs: EpochFigures[] }) {
  return (
    <details className="panel spaced">
      <summary>The same as a table</summary>
      <div className="scroll">
        <table>
          <thead>
            <tr>
              {["Epoch", "Loss", "Validation loss", "Accuracy", "Validation accuracy", "Feedback norm", "Learning rate"].map((name) => (
                <th key={name} scope="col" className="right">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {epochs.map((each) => (
              <tr key={each.epoch}>
                <th scope="row" className="right">
                  {count(each.epoch + 1)}
                </th>
                <td className="right">{figure(each.loss, 3)}</td>
                <td className="right">{figure(each.validation_loss, 3)}</td>
                <td className="right">{percent(each.accuracy)}</td>
                <td className="right">{percent(each.validation_accuracy)}</td>
                <td className="right">{figure(each.feedback_norm, 3)}</td>
                <td className="right">{figure(each.learning_rate, 4)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
