import { Link } from "react-router";
import { count, moment } from "../format";
import { useListing } from "../parts/listing";
import { Empty, Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";

export function ComparisonsPage() {
  useTitle("Alignment");
  const { items, query, more } = useListing("/v1/comparisons");
  return (
    <main className="page">
      <h1>Alignment</h1>
      <p className="lead">Concepts are found in each layer, then matched: what do two layers, or two models, share?</p>
      {query.isPending && <Loading what="comparisons" />}
      {query.isError && <Refusal problem={query.error} retry={() => void query.refetch()} />}
      {query.isSuccess && items.length === 0 && (
        <Empty title="No comparison yet">
          <p>Compare the layers of one model, or two models, on one dataset:</p>
          <pre className="command">
            {"xsys concepts find MODEL --dataset DATASET --layers LAYER,LAYER\nxsys alignment compare MODEL MODEL --dataset DATASET"}
          </pre>
        </Empty>
      )}
      {items.length > 0 && (
        <div className="table-wrap spaced">
          <table>
            <thead>
              <tr>
                <th scope="col">Comparison</th>
                <th scope="col">Models</th>
                <th scope="col">Dataset</th>
                <th scope="col">Method</th>
                <th scope="col" className="right">
                  Layers
                </th>
                <th scope="col" className="right">
                  Points
                </th>
                <th scope="col">Created</th>
              </tr>
            </thead>
            <tbody>
              {items.map((each) => (
                <tr key={each.id}>
                  <th scope="row">
                    <Link to={`/alignment/${each.id}`}>{each.name}</Link>
                  </th>
                  <td>{[...new Set(each.models.map((model) => model.name))].join(", ")}</td>
                  <td>{each.dataset.name}</td>
                  <td>{each.request.method}</td>
                  <td className="right">{count(each.representations.length)}</td>
                  <td className="right">{count(each.points)}</td>
                  <td>{moment(each.created_at)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {more}
    </main>
  );
}
