import { useQuery } from "@tanstack/react-query";
import { api, ask, type Job, type SteeringArm, type SteeringSetting } from "../api/client";
import { figure, words } from "../format";
import { csvText, download } from "./download";
import { hasEnded } from "./jobs";
import { LineChart } from "./LineChart";
import { Loading, Refusal } from "./states";

/** What steering gained and cost: concept rate against fluency, the table behind it, and where each arm works. */
export function SteeringTables({ job }: { job: Job }) {
  const found = useQuery({
    queryKey: ["steering-evaluation", job.id],
    queryFn: ({ signal }) => ask(api.GET("/v1/jobs/{job}/steering-evaluation", { params: { path: { job: job.id } }, signal })),
    refetchInterval: (query) => (hasEnded(job) || query.state.data?.request ? false : 1500),
  });
  if (found.isPending) return <Loading what="the figures" />;
  if (found.isError) return <Refusal problem={found.error} />;
  const { request, settings = [], arms = [], concepts = [] } = found.data;
  if (!request) return <p className="muted">{hasEnded(job) ? "Nothing was judged." : "The figures appear here by themselves."}</p>;
  const names = [...new Set(settings.map((each) => each.arm))];
  const series = names.map((arm) => ({
    name: words(arm),
    points: settings.filter((each) => each.arm === arm).map((each) => [each.fluency.mean, each.rate.mean] as const),
  }));
  return (
    <section className="spaced" aria-labelledby="steering-title">
      <div className="titlerow">
        <h2 id="steering-title">What steering gained and cost</h2>
        <button type="button" className="button" onClick={() => download(`${job.id}-steering.csv`, "text/csv", csvOf(settings))}>
          Save as CSV
        </button>
      </div>
      <p>
        Means with 95 % intervals; <strong>bold</strong> where no other setting has more of both concept and fluency. Strengths are in
        median norms of the layer.
      </p>
      <LineChart title="Concept rate" across="fluency, 0 to 2" series={series} file={`${job.id}-steering`} />
      <Arms arms={arms} />
      <Settings settings={settings} />
      <ul className="small">
        {concepts.map((each) => (
          <li key={each.name}>
            The judge of “{each.name}” finds {figure(100 * each.recall, 0)} % of the concept's texts and{" "}
            {figure(100 * each.false_positives, 0)} % of others; {each.removed.length} words were hidden from it.
          </li>
        ))}
      </ul>
    </section>
  );
}

function Arms({ arms }: { arms: SteeringArm[] }) {
  return (
    <div className="table-wrap spaced">
      <table>
        <caption>Recommended strengths, and the gain on prompts that did not choose the strength</caption>
        <thead>
          <tr>
            <th scope="col">Arm</th>
            <th scope="col">Recommended strengths</th>
            <th scope="col" className="right">Strength held out</th>
            <th scope="col" className="right">Gain</th>
            <th scope="col" className="right">Fluency of unsteered</th>
          </tr>
        </thead>
        <tbody>
          {arms.map(({ arm, window, no_window, held_out }) => (
            <tr key={arm}>
              <th scope="row">{words(arm)}</th>
              <td>{window ? `${window.low} to ${window.high}` : `none: ${no_window?.detail}`}</td>
              <td className="right num">{held_out?.strength ?? "–"}</td>
              <td className="right num">{held_out ? range(held_out.gain) : "–"}</td>
              <td className="right num">{held_out?.fluency_share == null ? "–" : figure(held_out.fluency_share, 2)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Settings({ settings }: { settings: SteeringSetting[] }) {
  return (
    <div className="table-wrap spaced">
      <table>
        <caption>Every arm at every strength</caption>
        <thead>
          <tr>
            <th scope="col">Arm</th>
            {["Strength", "Concept rate", "Gain", "Fluency", "Perplexity", "Repeated"].map((name) => (
              <th key={name} scope="col" className="right">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {settings.map((each) => (
            <tr key={`${each.arm} ${each.strength}`}>
              <th scope="row">{words(each.arm)}</th>
              <td className="right num">{each.strength ?? "–"}</td>
              <td className="right num">{each.front ? <strong>{range(each.rate)}</strong> : range(each.rate)}</td>
              <td className="right num">{each.gain ? range(each.gain) : "–"}</td>
              <td className="right num">{range(each.fluency)}</td>
              <td className="right num">{each.perplexity == null ? "–" : figure(each.perplexity, 1)}</td>
              <td className="right num">{figure(each.repeated, 2)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const range = (value: { mean: number; low: number; high: number }): string =>
  `${figure(value.mean, 2)} (${figure(value.low, 2)} to ${figure(value.high, 2)})`;

function csvOf(settings: SteeringSetting[]): string {
  const rows = settings.map((each) => [
    each.arm, each.strength ?? "", each.n, each.rate.mean, each.rate.low, each.rate.high, each.gain?.mean ?? "", each.gain?.low ?? "",
    each.gain?.high ?? "", each.fluency.mean, each.fluency.low, each.fluency.high, each.perplexity ?? "", each.distinct, each.repeated,
    each.front ? "front" : "",
  ]);
  const head = ["arm", "strength", "n", "rate", "rate_low", "rate_high", "gain", "gain_low", "gain_high", "fluency", "fluency_low", "fluency_high", "perplexity", "distinct", "repeated", "front"];
  return csvText([head, ...rows]);
}
