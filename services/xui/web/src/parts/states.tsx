import type { ReactNode } from "react";
import { asProblem } from "../api/problem";

export function Loading({ what }: { what: string }) {
  return (
    <p className="loading" role="status">
      <span className="spinner" aria-hidden="true" />
      Loading {what} …
    </p>
  );
}

/** What was refused, why, and what to do about it. */
export function Refusal({ problem: thrown, retry }: { problem: unknown; retry?: () => void }) {
  const problem = asProblem(thrown);
  return (
    <section className="refusal" role="alert">
      <h2>{problem.title.replaceAll(/([a-z])([A-Z])/g, "$1 $2")}</h2>
      <p>
        <Prose text={problem.detail} />
      </p>
      <p className="remedy">
        <strong>What to do:</strong> <Prose text={problem.remedy} />
      </p>
      {problem.field !== null && (
        <p className="muted">
          Field: <code>{problem.field}</code>
        </p>
      )}
      {retry && (
        <button type="button" className="button" onClick={retry}>
          Try again
        </button>
      )}
    </section>
  );
}

/** Text in which `commands` stand between backticks. */
export function Prose({ text }: { text: string }) {
  return text.split("`").map((piece, i) => (i % 2 === 1 ? <code key={i}>{piece}</code> : piece));
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <section className="empty">
      <h2>{title}</h2>
      {children}
    </section>
  );
}
