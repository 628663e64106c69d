import { Link } from "react-router";
import type { Audit, AuditFinding } from "../api/client";
import { activation, figure, percent, plural } from "../format";
import { componentName, componentPath } from "./links";
import { useSnapshot } from "./snapshot";
import { Thumb } from "./Thumb";
import { VerdictMark } from "./verdicts";

/** The components that were flagged or that carry much of the class, with the pictures and the tests that say so. */
export function Findings({ audit, readout }: { audit: Audit; readout: string }) {
  const snapshot = useSnapshot(audit.snapshot);
  const found = audit.findings.filter((each) => each.readout === readout);
  const dataset = snapshot.data?.dataset.id;
  return (
    <section aria-labelledby="findings-title">
      <h2 id="findings-title">
        Evidence <span className="muted">{found.length}</span>
      </h2>
      {found.length === 0 && <p className="muted">No component of this class was flagged.</p>}
      <ol className="findings" aria-label="Evidence">
        {found.map((finding) => (
          <li key={`${finding.layer}:${finding.index}:${finding.sign}`} className="panel">
            <Finding finding={finding} snapshot={audit.snapshot} dataset={dataset} />
          </li>
        ))}
      </ol>
    </section>
  );
}

function Finding({ finding, snapshot, dataset }: { finding: AuditFinding; snapshot: string; dataset: string | undefined }) {
  const ref = { layer: finding.layer, index: finding.index, sign: finding.sign };
  return (
    <>
      <p className="findinghead">
        <Link to={componentPath(snapshot, ref)}>{componentName(ref, finding.sign === -1)}</Link>
        <VerdictMark verdict={finding.verdict} />
      </p>
      <p className="small num">
        <b>{percent(finding.share)}</b> of the layer's relevance
        {finding.effect != null && ` · score falls by ${activation(finding.effect)} without it`} · clarity {figure(finding.clarity)} ·{" "}
        {plural(finding.distinct, "different picture")}
      </p>
      <div className="findingbody">
        <span className="thumbs four">
          {dataset &&
            finding.examples.slice(0, 8).map((example) => <Thumb key={example.sample} dataset={dataset} example={example} />)}
        </span>
        <ul className="tests small">
          {finding.tests.map((test) => (
            <li key={`${test.kind}:${test.concept}`}>
              <span>
                <span className={`dot ${test.kind}`} aria-hidden="true" /> {test.kind}: <b>{test.concept}</b>
              </span>
              <span className="num muted">
                {figure(test.alignment)} · z {figure(test.z, 1)} · q {figure(test.q, 3)}
              </span>
            </li>
          ))}
        </ul>
      </div>
    </>
  );
}
