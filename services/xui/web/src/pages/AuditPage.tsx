import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router";
import { api, ask, type Audit } from "../api/client";
import { activation, count, moment, percent, shortHash, words } from "../format";
import { AuditScatter } from "../parts/AuditScatter";
import { Fact } from "../parts/Fact";
import { Findings } from "../parts/Findings";
import { useAddress } from "../parts/address";
import { LineageLink } from "../parts/LineageLink";
import { snapshotPath } from "../parts/links";
import { useSnapshot } from "../parts/snapshot";
import { Repairs } from "../parts/Repairs";
import { SignOffs } from "../parts/SignOffs";
import { Loading, Refusal } from "../parts/states";
import { useRecordedAudit } from "../parts/recording";
import { useTitle } from "../parts/title";
import { VerdictBadge } from "../parts/verdicts";
import "../styles/audit.css";

export function AuditPage() {
  const { audit: id = "" } = useParams();
  const audit = useQuery({
    queryKey: ["audit", id],
    queryFn: ({ signal }) => ask(api.GET("/v1/audits/{audit}", { params: { path: { audit: id } }, signal })),
  });
  useRecordedAudit(audit.data?.id);
  useTitle(audit.data ? `Audit of ${audit.data.snapshot_name}` : "Audit");
  return (
    <main className="page">
      <p className="crumbs">
        <Link to="/audits">Audits</Link> / <span className="mono">{id}</span>
      </p>
      {audit.isPending && <Loading what="the audit" />}
      {audit.isError && <Refusal problem={audit.error} retry={() => void audit.refetch()} />}
      {audit.data && <Shown audit={audit.data} />}
    </main>
  );
}

function Shown({ audit }: { audit: Audit }) {
  const [search, setSearch] = useAddress();
  const snapshot = useSnapshot(audit.snapshot);
  const classes = Object.keys(audit.policy.classes);
  const readout = classes.find((name) => name === search.get("class")) ?? classes[0]!;
  const report = `/v1/audits/${audit.id}/report`;
  const { calibration } = audit;
  return (
    <>
      <div className="titlerow">
        <h1>
          Audit of <Link to={snapshotPath(audit.snapshot)}>{audit.snapshot_name}</Link> <VerdictBadge passed={audit.passed} />
        </h1>
        <p className="actions">
          <a className="button" href={`${report}?format=html`} download={`${audit.id}.html`}>
            Report
          </a>
          <a className="button" href={`${report}?format=junit`} download={`${audit.id}.xml`}>
            JUnit
          </a>
        </p>
      </div>
      <dl className="facts spaced">
        <Fact name="Model" value={snapshot.data?.model.name ?? audit.model} />
        <Fact name="Dataset" value={snapshot.data?.dataset.name ?? audit.dataset} />
        <Fact name="Encoder" value={audit.encoder} />
        <Fact name="Policy" value={shortHash(audit.policy_sha256)} />
        <Fact name="Tests" value={count(calibration.tests)} />
        <Fact name="Smallest p" value={activation(calibration.smallest_p)} />
        <Fact name="Created" value={moment(audit.created_at)} />
        <Fact name="Lineage" value={<LineageLink of={audit.lineage} what={shortHash(audit.lineage)} />} />
      </dl>
      {calibration.resolution_limited && (
        <p className="notice">
          The null is small: a lone component could not have been found; {count(calibration.needed)} together can. Give more background names.
        </p>
      )}
      <Checks audit={audit} />
      <div className="pickrow spaced">
        <label>
          Class{" "}
          <select value={readout} onChange={(event) => setSearch({ class: event.target.value }, { replace: true })}>
            {classes.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <ClassConcepts audit={audit} readout={readout} />
      </div>
      <div className="withside">
        <div className="mainside">
          <AuditScatter key={readout} audit={audit} readout={readout} />
          <Repairs audit={audit} readout={readout} />
          <Findings audit={audit} readout={readout} />
        </div>
        <aside aria-label="Decisions">
          <SignOffs audit={audit} />
          <details className="panel">
            <summary>The policy</summary>
            <pre className="policytext">{JSON.stringify(audit.policy, null, 2)}</pre>
          </details>
        </aside>
      </div>
    </>
  );
}

function ClassConcepts({ audit, readout }: { audit: Audit; readout: string }) {
  const policy = audit.policy.classes[readout];
  const forbidden = [...(audit.policy.forbidden ?? []), ...(policy?.forbidden ?? [])];
  const lists = [
    ["may rest on", policy?.valid ?? []],
    ["may not rest on", policy?.spurious ?? []],
    ["forbidden", forbidden],
  ] as const;
  return (
    <p className="small">
      {lists
        .filter(([, names]) => names.length > 0)
        .map(([title, names]) => (
          <span key={title} className="conceptlist">
            <span className="muted">{title}</span> {names.join(", ")}
          </span>
        ))}
    </p>
  );
}

function Checks({ audit }: { audit: Audit }) {
  return (
    <div className="table-wrap spaced">
      <table>
        <caption className="hidden">Limits of the policy</caption>
        <thead>
          <tr>
            <th scope="col">Class</th>
            <th scope="col">Layer</th>
            <th scope="col">Limit on</th>
            <th scope="col" className="right">
              Components
            </th>
            <th scope="col" className="right">
              Share of relevance
            </th>
            <th scope="col" className="right">
              Limit
            </th>
            <th scope="col">Holds</th>
          </tr>
        </thead>
        <tbody>
          {audit.checks.map((check) => (
            <tr key={`${check.readout}:${check.layer}:${check.rule}`}>
              <th scope="row">{check.readout}</th>
              <td className="mono">{check.layer}</td>
              <td>{words(check.rule)}</td>
              <td className="right">{count(check.components)}</td>
              <td className="right">{percent(check.share)}</td>
              <td className="right">{percent(check.limit)}</td>
              <td>
                <VerdictBadge passed={check.passed} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
