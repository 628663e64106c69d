import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router";
import { type Answer, api, ask, type Comparison } from "../api/client";
import { figure, plural } from "../format";
import { AlignmentMatrix } from "../parts/AlignmentMatrix";
import { PairView } from "../parts/PairView";
import { useAddress } from "../parts/address";
import { Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import "../styles/alignment.css";

export function ComparisonPage() {
  const { comparison: id = "" } = useParams();
  const comparison = useQuery({
    queryKey: ["comparison", id],
    queryFn: ({ signal }) => ask(
        api.GET("/v1/comparisons/{comparison}", { params: { path: { comparison: id } }, signal }) as Promise<Answer<Comparison>>,
      ),
    staleTime: Infinity,
  });
  useTitle(comparison.data?.name ?? "Comparison");
  return (
    <main className="page">
      <p className="crumbs">
        <Link to="/alignment">Alignment</Link> / {comparison.data?.name ?? id}
      </p>
      {comparison.isPending && <Loading what="the comparison" />}
      {comparison.isError && <Refusal problem={comparison.error} retry={() => void comparison.refetch()} />}
      {comparison.data && <Shown comparison={comparison.data} />}
    </main>
  );
}

const place = (text: string | null): number | null => (text !== null && /^\d{1,3}$/.test(text) ? Number(text) : null);

function Shown({ comparison }: { comparison: Comparison }) {
  const [search, setSearch] = useAddress();
  const [first] = comparison.matched;
  const ours = place(search.get("ours")) ?? first?.[0] ?? null;
  const theirs = place(search.get("theirs")) ?? first?.[1] ?? null;
  const report = `/v1/comparisons/${encodeURIComponent(comparison.id)}/report`;
  return (
    <>
      <div className="titlerow">
        <h1>{comparison.name}</h1>
        <p className="actions">
          <a className="button" href={`${report}?format=html`} download={`${comparison.name}.html`}>
            Report
          </a>
          <a className="button" href={`${report}?format=csv`} download={`${comparison.name}.csv`}>
            Matches as CSV
          </a>
        </p>
      </div>
      <p className="lead">
        {plural(comparison.points, "point")} of <Link to={`/datasets/${comparison.dataset.id}`}>{comparison.dataset.name}</Link> · method{" "}
        {comparison.request.method} · {plural(comparison.request.seeds, "seed")}
      </p>
      <div className="alignmenthead spaced">
        <AlignmentMatrix
          comparison={comparison}
          ours={ours}
          theirs={theirs}
          choose={(a, b) => setSearch({ ours: String(a), theirs: String(b) }, { replace: true })}
        />
        <Representations comparison={comparison} />
      </div>
      {ours !== null && theirs !== null ? (
        <PairView key={`${ours}-${theirs}`} comparison={comparison} ours={ours} theirs={theirs} />
      ) : (
        <p className="notice spaced">No two layers of this comparison were matched concept by concept.</p>
      )}
    </>
  );
}

function Representations({ comparison }: { comparison: Comparison }) {
  return (
    <div className="table-wrap">
      <table>
        <thead>
          <tr>
            <th scope="col" className="right">
              #
            </th>
            <th scope="col">Layer</th>
            <th scope="col" className="right" title="Agreement of the layer with itself under another seed: no comparison can be expected above it">
              Ceiling
            </th>
            <th scope="col" className="right">
              Concepts
            </th>
            <th scope="col" className="right">
              Noise
            </th>
            <th scope="col" className="right" title="Chance-corrected agreement of the concepts with the dataset's labels">
              Labels
            </th>
          </tr>
        </thead>
        <tbody>
          {comparison.representations.map((each) => (
            <tr key={each.place}>
              <td className="right">{each.place}</td>
              <th scope="row">
                <span className="mono">{each.layer}</span>{" "}
                {comparison.models.length > 1 && <span className="muted small">{nameOf(comparison, each.model)}</span>}
                {each.advice && <p className="small muted">{each.advice}</p>}
              </th>
              <td className="right">{figure(each.ceiling)}</td>
              <td className="right">{each.concepts}</td>
              <td className="right">{figure(each.noise_share)}</td>
              <td className="right">{figure(each.label_alignment, 3)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const nameOf = (comparison: Comparison, model: string): string =>
  comparison.models.find((each) => each.id === model || each.name === model)?.name ?? model;
