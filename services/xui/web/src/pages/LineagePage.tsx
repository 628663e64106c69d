import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router";
import { api, ask, type Lineage } from "../api/client";
import { bytes, count, moment, plural, words } from "../format";
import { Columns } from "../parts/Columns";
import { BOX, kindOf, placed, wire } from "../parts/lineage";
import { Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import "../styles/lineage.css";

/** Where a result comes from, back to weights and pictures. */
export function LineagePage() {
  useTitle("Lineage");
  const { key = "" } = useParams();
  const found = useQuery({
    queryKey: ["lineage", key],
    queryFn: ({ signal }) => ask(api.GET("/v1/lineage/{of}", { params: { path: { of: key } }, signal })),
  });
  return (
    <main className="page">
      <h1>Where this comes from</h1>
      <p className="lead">
        Every result is kept under a key made of its inputs' keys, its parameters and the version of the code, so that this graph cannot change afterwards. This is{" "}
        <code title={key}>{key.slice(0, 12)}</code>.
      </p>
      {found.isPending && <Loading what="the lineage" />}
      {found.isError && <Refusal problem={found.error} />}
      {found.data && <Shown lineage={found.data} />}
    </main>
  );
}

function Shown({ lineage }: { lineage: Lineage }) {
  return (
    <>
      <section className="panel spaced" aria-labelledby="origins-title">
        <h2 id="origins-title">Weights and pictures behind it</h2>
        {lineage.origins.length === 0 && <p className="muted">No registered model or dataset: it is an origin itself, or was made by a version that did not record them.</p>}
        <ul className="plain origins">
          {lineage.origins.map((each) => (
            <li key={each.id}>
              {words(each.kind)} <Link to={each.kind === "dataset" ? `/datasets/${each.id}` : "/models"}>{each.name}</Link> <code title={each.sha256}>{each.sha256.slice(0, 12)}</code>
            </li>
          ))}
        </ul>
      </section>
      <section className="panel spaced" aria-labelledby="graph-title">
        <h2 id="graph-title">
          {plural(lineage.artifacts, "artifact")}, {bytes(lineage.bytes)}
        </h2>
        <Graph lineage={lineage} />
      </section>
      <div className="table-wrap spaced">
        <table>
          <caption className="hidden">Steps from the result to its origins</caption>
          <Columns names={["Step", "Artifacts", "Size", "Computed", "From"]} />
          <tbody>
            {lineage.steps.map((step) => (
              <tr key={step.kind}>
                <th scope="row">
                  <Kind of={step.kind} />
                </th>
                <td className="num" title={step.keys.join("\n")}>
                  {count(step.artifacts)}
                  {step.gone > 0 && <span className="muted"> ({count(step.gone)} not kept)</span>}
                </td>
                <td className="num">{step.bytes > 0 ? bytes(step.bytes) : "—"}</td>
                <td className="when">{step.last_at ? moment(step.last_at) : "—"}</td>
                <td>{step.computed_from.length === 0 ? "an origin" : step.computed_from.map((edge) => kindOf(lineage.steps[edge.step]!.kind).filter(Boolean).join(" ")).join(", ")}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Kind({ of }: { of: string }) {
  const [stage, output] = kindOf(of);
  return (
    <>
      {stage} {output && <span className="muted">{output}</span>}
    </>
  );
}

function Graph({ lineage }: { lineage: Lineage }) {
  const { boxes, width, height } = placed(lineage.steps.map(({ level }) => level));
  const origins = new Set(lineage.origins.map(({ step }) => step));
  return (
    <svg className="lineage" viewBox={`-4 -4 ${width + 8} ${height + 8}`} style={{ maxWidth: width + 8 }} role="img" aria-label={`Graph of ${plural(lineage.steps.length, "step")}: the result on the left, origins on the right`}>
      {lineage.steps.flatMap((step, from) =>
        step.computed_from.filter((edge) => edge.step !== from).map((edge) => <path key={`${from}-${edge.step}`} className="wire" d={wire(boxes[from]!, boxes[edge.step]!)} />),
      )}
      {boxes.map(({ step: at, x, y }) => {
        const step = lineage.steps[at]!;
        const [stage, output] = kindOf(step.kind);
        return (
          <g key={at} className={at === 0 ? "box result" : origins.has(at) ? "box origin" : "box"} transform={`translate(${x} ${y})`}>
            <title>{step.kind}</title>
            <rect width={BOX.width} height={BOX.height} rx="6" />
            <text x="10" y="20" className="stage">
              {clipped(output ? `${stage} · ${output}` : stage)}
            </text>
            <text x="10" y="37">
              {sizeOf(step)}
            </text>
          </g>
        );
      })}
    </svg>
  );
}

/** A model's content is an origin of its own and has no file under that key. */
const sizeOf = (step: Lineage["steps"][number]) => (step.bytes > 0 ? `${count(step.artifacts)} · ${bytes(step.bytes)}` : plural(step.artifacts, "hash", "hashes"));

const clipped = (text: string) => (text.length > 20 ? `${text.slice(0, 19)}…` : text);
