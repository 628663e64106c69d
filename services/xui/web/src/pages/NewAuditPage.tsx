import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link, useNavigate } from "react-router";
import { api, ask, type AuditRequest } from "../api/client";
import { asProblem } from "../api/problem";
import { useAddress } from "../parts/address";
import { useChoice } from "../parts/listing";
import { PolicyEditor } from "../parts/PolicyEditor";
import { Empty, Loading, Prose, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import "../styles/audit.css";

export function NewAuditPage() {
  useTitle("New audit");
  const [search, setSearch] = useAddress();
  const named = search.get("snapshot");
  const { items, chosen, query, more, isPending, problem, retry } = useChoice("/v1/snapshots", named);
  const snapshot = named === null ? items[0] : chosen;
  return (
    <main className="page">
      <p className="crumbs">
        <Link to="/audits">Audits</Link> / New audit
      </p>
      <h1>New audit</h1>
      <p className="lead">Name what a class may rest on (valid) and what it may not (spurious); what is forbidden holds for every class.</p>
      {isPending && <Loading what="snapshots" />}
      {query.isError && <Refusal problem={query.error} retry={() => void query.refetch()} />}
      {problem && <Refusal problem={problem} retry={retry} />}
      {query.isSuccess && !isPending && !problem && named !== null && !snapshot && (
        <Empty title="This snapshot is not here">
          <p>
            The address names a snapshot that this workspace does not have. Begin <Link to="/audits/new">with another</Link>.
          </p>
        </Empty>
      )}
      {query.isSuccess && named === null && !snapshot && (
        <Empty title="No snapshot to audit yet">
          <p>An audit reads what components respond to, so build a snapshot first:</p>
          <pre className="command">xsys snapshot build --model MODEL --dataset DATASET</pre>
        </Empty>
      )}
      {snapshot && (
        <>
          <div className="pickrow spaced">
            <label>
              Snapshot{" "}
              <select value={snapshot.id} onChange={(event) => setSearch({ snapshot: event.target.value }, { replace: true })}>
                {items.map((each) => (
                  <option key={each.id} value={each.id}>
                    {each.name}
                  </option>
                ))}
              </select>
            </label>
            {more}
          </div>
          <Draft key={snapshot.id} snapshot={snapshot.id} />
        </>
      )}
    </main>
  );
}

const kept = (snapshot: string): string => `xsys-policy-${snapshot}`;

/** The policy as text; what was typed stays in this tab until it is sent. */
function Draft({ snapshot }: { snapshot: string }) {
  const [text, setText] = useState<string | null>(() => sessionStorage.getItem(kept(snapshot)));
  const navigate = useNavigate();
  const queries = useQueryClient();
  const draft = useQuery({
    queryKey: ["audit-policy", snapshot],
    queryFn: ({ signal }) => ask(api.GET("/v1/snapshots/{snapshot}/audit-policy", { params: { path: { snapshot } }, signal })),
    staleTime: Infinity,
  });
  const shown = text ?? draft.data?.yaml ?? "";
  useEffect(() => {
    if (text !== null) sessionStorage.setItem(kept(snapshot), text);
  }, [snapshot, text]);
  const run = useMutation({
    mutationFn: (yaml: string) => ask(api.POST("/v1/audits", { body: { snapshot, yaml } as AuditRequest })),
    onSuccess: (job) => {
      sessionStorage.removeItem(kept(snapshot));
      void queries.invalidateQueries({ queryKey: ["/v1/jobs"] });
      void queries.invalidateQueries({ queryKey: ["/v1/audits"] });
      navigate(`/jobs/${job.id}`);
    },
  });
  const problem = run.isError ? asProblem(run.error) : null;
  if (text === null && draft.isPending) return <Loading what="a policy to start from" />;
  if (text === null && draft.isError) return <Refusal problem={draft.error} retry={() => void draft.refetch()} />;
  return (
    <form
      className="spaced"
      onSubmit={(event) => {
        event.preventDefault();
        run.mutate(shown);
      }}
    >
      {problem && (
        <section className="refusal" role="alert" id="policy-problem">
          <h2>{problem.line === null ? problem.title : `Line ${problem.line}`}</h2>
          <p>{problem.detail}</p>
          <p>
            <strong>What to do:</strong> <Prose text={problem.remedy} />
          </p>
        </section>
      )}
      <PolicyEditor text={shown} change={setText} line={problem?.line ?? null} problem={problem?.detail ?? null} />
      <p className="actions spaced">
        <button type="submit" className="button primary" disabled={run.isPending || shown.trim() === ""}>
          Run the audit
        </button>
        {text !== null && (
          <button
            type="button"
            className="button"
            onClick={() => {
              sessionStorage.removeItem(kept(snapshot));
              setText(null);
            }}
          >
            Start over
          </button>
        )}
      </p>
    </form>
  );
}
