import { Link } from "react-router";
import type { Job } from "../api/client";
import { figure, moment, percent } from "../format";
import { StateBadge } from "../parts/Bar";
import { useAddress } from "../parts/address";
import { curveRows, measuresOf, seriesOf, useCurves, WEIGHTS, weightSeries } from "../parts/curves";
import { csvText, download } from "../parts/download";
import { hasEnded } from "../parts/jobs";
import { LineChart } from "../parts/LineChart";
import { useListing } from "../parts/listing";
import { Empty, Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import { useMay } from "../session";
import "../styles/training.css";

const MOST = 6;
const EVERY = 2000;

/** Trainings side by side; the address names them. */
export function RunsPage() {
  useTitle("Training runs");
  const may = useMay("register");
  const [search, setSearch] = useAddress();
  const chosen = search.getAll("job").slice(0, MOST);
  const { items, query, more } = useListing("/v1/jobs");
  const runs = items.filter((job) => job.kind === "training");
  const toggle = (id: string) =>
    setSearch(
      (now) => {
        const before = now.getAll("job").slice(0, MOST);
        return { job: before.includes(id) ? before.filter((each) => each !== id) : [...before, id] };
      },
      { replace: true },
    );
  return (
    <main className="page">
      <p className="crumbs">
        <Link to="/jobs">Jobs</Link> / Training runs
      </p>
      <div className="titlerow">
        <h1>Training runs, side by side</h1>
        {may && (
          <p className="actions">
            <Link className="button" to="/runs/new">
              Train a model
            </Link>
            <Link className="button" to="/runs/new?kind=pruning">
              Prune a model
            </Link>
          </p>
        )}
      </div>
      <p className="lead">Tick two or more to compare how they learnt.</p>
      {query.isPending && <Loading what="jobs" />}
      {query.isError && <Refusal problem={query.error} retry={() => void query.refetch()} />}
      {query.isSuccess && runs.length === 0 && (
        <Empty title="No training yet">
          <p>Train a registered model on a dataset with labels:</p>
          <pre className="command">xsys train run tuned --model MODEL --dataset DATASET</pre>
        </Empty>
      )}
      {runs.length > 0 && <Runs runs={runs} chosen={chosen} toggle={toggle} />}
      {more}
      {chosen.length > 0 && query.isSuccess && <Comparison ids={chosen} runs={items} />}
    </main>
  );
}

function Runs({ runs, chosen, toggle }: { runs: Job[]; chosen: string[]; toggle: (id: string) => void }) {
  return (
    <div className="table-wrap spaced">
      <table>
        <thead>
          <tr>
            <th scope="col">Compare</th>
            <th scope="col">Run</th>
            <th scope="col">State</th>
            <th scope="col">Created</th>
          </tr>
        </thead>
        <tbody>
          {runs.map((job) => (
            <tr key={job.id}>
              <td>
                <input
                  type="checkbox"
                  aria-label={`Compare ${job.title}`}
                  checked={chosen.includes(job.id)}
                  disabled={!chosen.includes(job.id) && chosen.length >= MOST}
                  onChange={() => toggle(job.id)}
                />
              </td>
              <th scope="row">
                <Link to={`/jobs/${job.id}`}>{job.title}</Link>
              </th>
              <td>
                <StateBadge state={job.state} />
              </td>
              <td>{moment(job.created_at)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Comparison({ ids, runs }: { ids: string[]; runs: Job[] }) {
  const running = runs.some((job) => ids.includes(job.id) && !hasEnded(job));
  const curves = useCurves(ids, running ? EVERY : false);
  const problem = curves.find((curve) => curve.isError)?.error;
  const shown = ids.map((id, i) => ({ id, name: nameOf(id, ids, runs), epochs: curves[i]?.data?.epochs ?? [] }));
  const weights = shown.flatMap((run) => weightSeries(run.name, run.epochs.at(-1)));
  if (curves.some((curve) => curve.isPending)) return <Loading what="curves" />;
  return (
    <section className="spaced" aria-labelledby="comparison-title">
      <div className="titlerow">
        <h2 id="comparison-title">Comparison</h2>
        <button type="button" className="button" onClick={() => download("runs.csv", "text/csv", csvText(curveRows(shown)))}>
          Save as CSV
        </button>
      </div>
      {problem && <Refusal problem={problem} />}
      <div className="table-wrap spaced">
        <table>
          <thead>
            <tr>
              <th scope="col">Run</th>
              <th scope="col" className="right">
                Epochs
              </th>
              <th scope="col" className="right">
                Best validation accuracy
              </th>
              <th scope="col" className="right">
                in epoch
              </th>
              <th scope="col" className="right">
                Last validation loss
              </th>
            </tr>
          </thead>
          <tbody>
            {shown.map(({ id, name, epochs }) => {
              const best = Math.max(...epochs.map((epoch) => epoch.validation_accuracy));
              const at = epochs.find((epoch) => epoch.validation_accuracy === best);
              return (
                <tr key={id}>
                  <th scope="row">{name}</th>
                  <td className="right">{epochs.length}</td>
                  <td className="right">{percent(at?.validation_accuracy)}</td>
                  <td className="right">{at ? at.epoch + 1 : "–"}</td>
                  <td className="right">{figure(epochs.at(-1)?.validation_loss, 3)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      <div className="charts spaced">
        {measuresOf(shown.flatMap((run) => run.epochs)).map(({ key, name, pair, pairName }) => (
          <LineChart
            key={key}
            title={pairName ?? name}
            across="epoch"
            file={`runs-${pair ?? key}`}
            series={shown.map((run) => seriesOf(run.name, run.epochs, pair ?? key)).filter((each) => each.points.length > 0)}
          />
        ))}
        {weights.length > 0 && <LineChart {...WEIGHTS} file="runs-weights" series={weights} />}
      </div>
    </section>
  );
}

/** Titles may repeat; then the id says which. */
function nameOf(id: string, ids: string[], runs: Job[]): string {
  const title = runs.find((job) => job.id === id)?.title;
  if (title === undefined) return id;
  const twins = runs.filter((job) => ids.includes(job.id) && job.title === title).length > 1;
  return twins ? `${title} (${id.slice(-6)})` : title;
}
