import type { AuditFinding } from "../api/client";
import { words } from "../format";

export type Verdict = AuditFinding["verdict"];

export const VERDICTS: Record<Verdict, string> = {
  forbidden: "stands for something that no class may rest on",
  spurious: "stands for something that this class may not rest on",
  mixed: "stands for something allowed and for something that is not",
  valid: "stands for what this class may rest on",
  unexpected: "carries much relevance and stands for nothing that was named",
  idle: "stands for something that is not allowed, but carries no relevance",
  unclear: "its examples have too little in common to judge it",
  insufficient_evidence: "too few different pictures activate it",
};

export function VerdictBadge({ passed }: { passed: boolean }) {
  return <span className={`badge ${passed ? "done" : "failed"}`}>{passed ? "passed" : "failed"}</span>;
}

export function VerdictMark({ verdict }: { verdict: Verdict }) {
  return (
    <span className="verdict" title={VERDICTS[verdict]}>
      <span className={`dot ${verdict}`} aria-hidden="true" /> {words(verdict)}
    </span>
  );
}
