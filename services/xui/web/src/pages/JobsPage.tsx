import { Link } from "react-router";
import { moment, percent } from "../format";
import { Bar, StateBadge } from "../parts/Bar";
import { hasEnded, progressOf } from "../parts/jobs";
import { useListing } from "../parts/listing";
import { Empty, Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";

export function JobsPage() {
  useTitle("Jobs");
  const { items, query, more } = useListing("/v1/jobs", { refreshEvery: 5000 });
  return (
    <main className="page">
      <h1>Jobs</h1>
      <p className="lead">
        Everything that takes a while, newest first. <Link to="/runs">Compare training runs</Link>
      </p>
      {query.isPending && <Loading what="jobs" />}
      {query.isError && <Refusal problem={query.error} retry={() => void query.refetch()} />}
      {query.isSuccess && items.length === 0 && (
        <Empty title="No job yet">
          <p>Jobs begin when you register pictures or a model, or build a snapshot, for example with:</p>
          <pre className="command">xsys demo</pre>
        </Empty>
      )}
      {items.length > 0 && (
        <div className="table-wrap spaced">
          <table>
            <thead>
              <tr>
                <th scope="col">Job</th>
                <th scope="col">State</th>
                <th scope="col">Progress</th>
                <th scope="col">Begun by</th>
                <th scope="col">Created</th>
              </tr>
            </thead>
            <tbody>
              {items.map((job) => (
                <tr key={job.id}>
                  <th scope="row">
                    <Link to={`/jobs/${job.id}`}>{job.title}</Link>
                  </th>
                  <td>
                    <StateBadge state={job.state} />
                  </td>
                  <td className="progresscell">
                    <Bar share={progressOf(job)} label={`Progress of ${job.title}`} state={job.state} />
                    {!hasEnded(job) && <span className="num small">{percent(progressOf(job))}</span>}
                  </td>
                  <td>{job.created_by}</td>
                  <td>{moment(job.created_at)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {more}
    </main>
  );
}
