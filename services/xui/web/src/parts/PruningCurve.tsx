import { useQuery } from "@tanstack/react-query";
import { api, ask, type Job, type PruningStep } from "../api/client";
import { count, percent } from "../format";
import { csvText, download } from "./download";
import { hasEnded } from "./jobs";
import { LineChart } from "./LineChart";
import { Loading, Refusal } from "./states";
import "../styles/training.css";

/** How accuracy falls as channels go, by the criterion asked for, by magnitude and by chance; and which cut was taken. */
export function PruningCurve({ job }: { job: Job }) {
  const pruning = useQuery({
    queryKey: ["pruning", job.id],
    queryFn: ({ signal }) => ask(api.GET("/v1/jobs/{job}/pruning", { params: { path: { job: job.id } }, signal })),
    refetchInterval: (query) => (hasEnded(job) || query.state.data?.before ? false : 1500),
  });
  if (pruning.isPending) return <Loading what="the curve" />;
  if (pruning.isError) return <Refusal problem={pruning.error} />;
  const { before, chosen, curves } = pruning.data;
  if (!before || !chosen || !curves) {
    return <p className="muted">{hasEnded(job) ? "Nothing was cut." : "Shares are being tried; the curve appears here by itself."}</p>;
  }
  const rows = curves.flatMap((curve) => curve.steps.map((step) => ({ criterion: curve.criterion, step })));
  const series = (key: "accuracy" | "parameters") =>
    curves.map((curve) => ({
      name: curve.criterion,
      points: [before, ...curve.steps].map((step) => [Math.round(100 * step.amount), step[key]] as const),
    }));
  const taken = (criterion: string, step: PruningStep) => criterion === curves[0]?.criterion && step.amount === chosen.amount;
  return (
    <section className="spaced" aria-labelledby="pruning-title">
      <div className="titlerow">
        <h2 id="pruning-title">What was cut</h2>
        <button
          type="button"
          className="button"
          onClick={() =>
            download(
              `${job.id}-pruning.csv`,
              "text/csv",
              csvText([
                ["criterion", "cut", "channels", "parameters", "MACs", "accuracy"],
                ...rows.map(({ criterion, step }) => [criterion, step.amount, step.channels, step.parameters, step.macs, step.accuracy]),
              ]),
            )
          }
        >
          Save as CSV
        </button>
      </div>
      <p>
        {percent(chosen.amount)} of the channels went: {count(before.parameters)} → {count(chosen.parameters)} parameters,{" "}
        {count(before.macs)} → {count(chosen.macs)} operations, accuracy {percent(before.accuracy)} → {percent(chosen.accuracy)} on
        pictures kept out, before any further training.
      </p>
      <div className="charts spaced">
        <LineChart title="Accuracy" across="% of channels cut" file={`${job.id}-accuracy`} series={series("accuracy")} />
        <LineChart title="Parameters" across="% of channels cut" file={`${job.id}-parameters`} series={series("parameters")} />
      </div>
      <details className="panel spaced">
        <summary>The same as a table</summary>
        <div className="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Criterion</th>
                {["Cut", "Channels", "Parameters", "Operations", "Accuracy"].map((name) => (
                  <th key={name} scope="col" className="right">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map(({ criterion, step }) => (
                <tr key={`${criterion} ${step.amount}`}>
                  <th scope="row">
                    {criterion}
                    {taken(criterion, step) && " (taken)"}
                  </th>
                  <td className="right">{percent(step.amount)}</td>
                  <td className="right">{count(step.channels)}</td>
                  <td className="right">{count(step.parameters)}</td>
                  <td className="right">{count(step.macs)}</td>
                  <td className="right">{percent(step.accuracy)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </section>
  );
}
