import { useQuery } from "@tanstack/react-query";
import { api, ask, type Usage } from "../api/client";
import { bytes, count, plural } from "../format";
import { Bar } from "./Bar";
import { Columns } from "./Columns";
import { kindOf } from "./lineage";
import { Loading, Refusal } from "./states";

/** What the workspace takes of the machines that all share, and what takes most of it. */
export function UsagePanel() {
  const usage = useQuery({ queryKey: ["usage"], queryFn: ({ signal }) => ask(api.GET("/v1/usage", { signal })) });
  return (
    <section className="spaced" aria-labelledby="usage-title">
      <h2 id="usage-title">What this workspace uses</h2>
      {usage.isPending && <Loading what="what is used" />}
      {usage.isError && <Refusal problem={usage.error} retry={() => void usage.refetch()} />}
      {usage.data && <Shown usage={usage.data} />}
    </section>
  );
}

function Shown({ usage }: { usage: Usage }) {
  return (
    <>
      <dl className="facts spaced">
        <Used name="Unfinished jobs" used={usage.unfinished_jobs} limit={usage.job_limit} show={count} />
        <Used name="Results" used={usage.bytes} limit={usage.byte_limit} show={bytes} />
      </dl>
      {usage.largest.length > 0 && (
        <div className="table-wrap spaced">
          <table>
            <caption className="hidden">Kinds of results by size</caption>
            <Columns names={["Kind of result", "Number", "Size"]} />
            <tbody>
              {usage.largest.map((each) => (
                <tr key={each.kind}>
                  <th scope="row">{kindOf(each.kind).filter(Boolean).join(" · ")}</th>
                  <td className="num">{count(each.artifacts)}</td>
                  <td className="num">{bytes(each.bytes)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

interface UsedProps {
  name: string;
  used: number;
  limit: number | null;
  show: (value: number) => string;
}

function Used({ name, used, limit, show }: UsedProps) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        {limit === null ? `${show(used)}, no limit` : `${show(used)} of ${show(limit)}`}
        {limit !== null && <Bar share={used / limit} label={`${name}: ${plural(Math.round((100 * used) / limit), "percent", "percent")} of the quota`} state={used >= limit ? "failed" : "running"} />}
      </dd>
    </div>
  );
}
