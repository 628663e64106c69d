/** A refusal by the server, or by the way to it; `title` is the name that code branches on. */
export class Problem extends Error {
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly remedy: string;
  readonly field: string | null;
  readonly correlationId: string | null;
  /** Of a text that was sent, where there is one to mend. */
  readonly line: number | null;
  /** What was given where something else was expected. */
  readonly given: string | null;

  constructor(given: {
    title: string;
    status: number;
    detail: string;
    remedy: string;
    field?: string | null;
    correlationId?: string | null;
    line?: number | null;
    given?: string | null;
  }) {
    super(`${given.title}: ${given.detail}`);
    this.name = "Problem";
    this.title = given.title;
    this.status = given.status;
    this.detail = given.detail;
    this.remedy = given.remedy;
    this.field = given.field ?? null;
    this.correlationId = given.correlationId ?? null;
    this.line = given.line ?? null;
    this.given = given.given ?? null;
  }
}

const text = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);

/** Read a problem from an answer of any shape: proxies answer with pages, and a crash may answer with nothing. */
export function problemOf(status: number, body: unknown): Problem {
  const members = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  return new Problem({
    title: text(members.title) ?? `HTTP ${status}`,
    status,
    detail: text(members.detail) ?? "The server gave no reason.",
    remedy: text(members.remedy) ?? "Try again; if it stays, `xsys doctor` tells what is missing.",
    field: text(members.field),
    correlationId: text(members.correlation_id),
    given: text(members.given),
    line: typeof members.line === "number" ? members.line : null,
  });
}

/** What is thrown where no answer came at all. */
export function unreachable(): Problem {
  return new Problem({
    title: "Unreachable",
    status: 0,
    detail: "The server did not answer.",
    remedy: "Check that `xsys serve` is running and that the network is up, then try again.",
  });
}

/** Make a problem of whatever was thrown. */
export function asProblem(thrown: unknown): Problem {
  if (thrown instanceof Problem) return thrown;
  const detail = thrown instanceof Error ? thrown.message : String(thrown);
  return new Problem({ title: "Error in this page", status: 0, detail, remedy: "Reload the page." });
}
