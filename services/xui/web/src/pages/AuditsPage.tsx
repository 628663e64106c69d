import { Link } from "react-router";
import { count, moment, plural } from "../format";
import { useListing } from "../parts/listing";
import { Empty, Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import { VerdictBadge } from "../parts/verdicts";
import { useMay } from "../session";

export function AuditsPage() {
  useTitle("Audits");
  const may = useMay("submit");
  const { items, query, more } = useListing("/v1/audits");
  return (
    <main className="page">
      <div className="titlerow">
        <h1>Audits</h1>
        {may && (
          <Link className="button primary" to="/audits/new">
            New audit
          </Link>
        )}
      </div>
      <p className="lead">What each class may rest on, held against what it does rest on.</p>
      {query.isPending && <Loading what="audits" />}
      {query.isError && <Refusal problem={query.error} retry={() => void query.refetch()} />}
      {query.isSuccess && items.length === 0 && (
        <Empty title="No audit yet">
          <p>Write down what a class may rest on, and judge a snapshot by it, here with New audit or on the command line:</p>
          <pre className="command">{"xsys audit init SNAPSHOT -o policy.yaml\nxsys audit run policy.yaml --snapshot SNAPSHOT"}</pre>
        </Empty>
      )}
      {items.length > 0 && (
        <div className="table-wrap spaced">
          <table>
            <thead>
              <tr>
                <th scope="col">Audit</th>
                <th scope="col">Result</th>
                <th scope="col">Model</th>
                <th scope="col" className="right">
                  Classes
                </th>
                <th scope="col" className="right">
                  Limits broken
                </th>
                <th scope="col" className="right">
                  Flagged
                </th>
                <th scope="col">Signed off</th>
                <th scope="col">Created</th>
              </tr>
            </thead>
            <tbody>
              {items.map((audit) => {
                const last = audit.sign_offs?.at(-1);
                return (
                  <tr key={audit.id}>
                    <th scope="row">
                      <Link to={`/audits/${audit.id}`}>{audit.snapshot_name}</Link>{" "}
                      <span className="muted small mono">{audit.id.slice(0, 8)}</span>
                    </th>
                    <td>
                      <VerdictBadge passed={audit.passed} />
                    </td>
                    <td>{audit.model}</td>
                    <td className="right">{count(audit.classes)}</td>
                    <td className="right">{count(audit.violations)}</td>
                    <td className="right">{count(audit.flagged)}</td>
                    <td>{last ? `${last.verdict} by ${last.user}` : plural(0, "decision")}</td>
                    <td>{moment(audit.created_at)}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
      {more}
    </main>
  );
}
