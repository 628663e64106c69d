import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, ask, type EvaluationFigure, type Job } from "../api/client";
import { figure, plural, words } from "../format";
import { csvText, download } from "./download";
import { hasEnded } from "./jobs";
import { Loading, Refusal } from "./states";

const ABOUT: Record<string, string> = {
  pointing_game: "Share of samples whose strongest place lies in the mask.",
  mass_accuracy: "Share of the relevance that lies in the mask.",
  rank_accuracy: "Share of the mask's size in strongest places that lies in it.",
  auc: "Area under the ROC curve of relevance for being in the mask; 0.5 is chance.",
  top_k_intersection: "Share of the strongest places that lies in the mask.",
  deletion: "Area under the probability while the strongest places are removed; low is good.",
  insertion: "Area under the probability while the strongest places are shown first; high is good.",
  abpc: "Area between removing the weakest and the strongest places first; high is good.",
  instability: "How far the map turns under noise; 0 for a map that does not move.",
  gini: "0 for an even map, 1 for one spike.",
  entropy: "In nats; low for a concentrated map.",
  effective_complexity: "Places with any relevance to speak of.",
};

const gridOf = (each: EvaluationFigure): string => (each.resolution ? `${each.resolution}/${each.evidence}` : "");
const tied = (each: EvaluationFigure): boolean => each.behind != null && each.behind.low <= 0;

/** How attribution methods did over many samples: methods down, figures across, the best of each marked. */
export function EvaluationTables({ job }: { job: Job }) {
  const [grid, setGrid] = useState<string | null>(null);
  const found = useQuery({
    queryKey: ["attribution-evaluation", job.id],
    queryFn: ({ signal }) => ask(api.GET("/v1/jobs/{job}/attribution-evaluation", { params: { path: { job: job.id } }, signal })),
    refetchInterval: (query) => (hasEnded(job) || query.state.data?.request ? false : 1500),
  });
  if (found.isPending) return <Loading what="the figures" />;
  if (found.isError) return <Refusal problem={found.error} />;
  const { request, figures = [], samples, right } = found.data;
  if (!request) return <p className="muted">{hasEnded(job) ? "Nothing was judged." : "The figures appear here by themselves."}</p>;
  const grids = [...new Set(figures.map(gridOf))].filter(Boolean);
  const shown = grid ?? grids[0];
  return (
    <section className="spaced" aria-labelledby="evaluation-title">
      <div className="titlerow">
        <h2 id="evaluation-title">How the methods did</h2>
        <button type="button" className="button" onClick={() => download(`${job.id}-attribution.csv`, "text/csv", csvOf(figures))}>
          Save as CSV
        </button>
      </div>
      <p>
        {plural(samples ?? 0, "sample")}
        {right != null && `, ${right} of them predicted rightly`}. Means with 95 % intervals; <strong>bold</strong> is the best of a
        figure, ≈ what these samples do not tell apart from it.
      </p>
      {shown && (
        <>
          <label>
            Where the evidence lies, by{" "}
            <select value={shown} onChange={(event) => setGrid(event.target.value)}>
              {grids.map((each) => (
                <option key={each} value={each}>
                  {each.replace("pixel/", "pixels, ").replace("patch/", "patches, ")} relevance
                </option>
              ))}
            </select>
          </label>
          <FigureTable caption={`Localisation on the mask “${request.mask}”`} figures={figures.filter((each) => gridOf(each) === shown)} />
        </>
      )}
      <FigureTable caption="Faithfulness, stability, sparsity" figures={figures.filter((each) => gridOf(each) === "")} />
    </section>
  );
}

function FigureTable({ caption, figures }: { caption: string; figures: EvaluationFigure[] }) {
  const metrics = [...new Set(figures.map((each) => each.metric))];
  const methods = [...new Set(figures.map((each) => each.method))];
  const at = new Map(figures.map((each) => [`${each.method} ${each.metric}`, each]));
  return (
    <div className="table-wrap spaced">
      <table>
        <caption>{caption}</caption>
        <thead>
          <tr>
            <th scope="col">Method</th>
            {metrics.map((metric) => (
              <th key={metric} scope="col" className="right" title={ABOUT[metric]}>
                {words(metric)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {methods.map((method) => (
            <tr key={method}>
              <th scope="row">{words(method)}</th>
              {metrics.map((metric) => (
                <Cell key={metric} of={at.get(`${method} ${metric}`)} />
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Cell({ of }: { of: EvaluationFigure | undefined }) {
  if (!of?.value) return <td className="right muted">–</td>;
  const decimals = Math.abs(of.value.mean) < 100 ? 3 : 0;
  const mean = figure(of.value.mean, decimals);
  return (
    <td className="right" title={of.undefined > 0 ? `${of.n} samples; undefined for ${of.undefined}` : `${of.n} samples`}>
      <span className="num">
        {tied(of) && "≈ "}
        {of.best ? <strong>{mean}</strong> : mean}
      </span>
      <br />
      <span className="num small muted">
        {figure(of.value.low, decimals)} to {figure(of.value.high, decimals)}
      </span>
    </td>
  );
}

function csvOf(figures: EvaluationFigure[]): string {
  const rows = figures.map((each) => [
    each.method, each.metric, each.resolution ?? "", each.evidence ?? "", each.value?.mean ?? "", each.value?.low ?? "",
    each.value?.high ?? "", each.n, each.undefined, each.best ? "best" : tied(each) ? "tied" : "",
  ]);
  return csvText([["method", "metric", "resolution", "evidence", "mean", "low", "high", "n", "undefined", "place"], ...rows]);
}
