import { Link } from "react-router";
import { count, moment } from "../format";
import { useListing } from "../parts/listing";
import { NewDataset } from "../parts/NewDataset";
import { Empty, Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import { useMay } from "../session";

export function DatasetsPage() {
  useTitle("Datasets");
  const may = useMay("register");
  const { items, query, more } = useListing("/v1/datasets");
  return (
    <main className="page">
      <h1>Datasets</h1>
      <p className="lead">Ordered, immutable sets of pictures; models are explained on them.</p>
      {may && <NewDataset />}
      {query.isPending && <Loading what="datasets" />}
      {query.isError && <Refusal problem={query.error} retry={() => void query.refetch()} />}
      {query.isSuccess && items.length === 0 && (
        <Empty title="No dataset yet">
          <p>Register a folder, a Parquet file, a WebDataset tar or a zip of pictures:</p>
          <pre className="command">xsys dataset add PATH --name photos</pre>
        </Empty>
      )}
      {items.length > 0 && (
        <div className="table-wrap spaced">
          <table>
            <thead>
              <tr>
                <th scope="col">Dataset</th>
                <th scope="col">Source</th>
                <th scope="col" className="right">
                  Pictures
                </th>
                <th scope="col" className="right">
                  Labels
                </th>
                <th scope="col" className="right">
                  Duplicates
                </th>
                <th scope="col" className="right">
                  Rejected
                </th>
                <th scope="col">Created</th>
              </tr>
            </thead>
            <tbody>
              {items.map((dataset) => (
                <tr key={dataset.ref.id}>
                  <th scope="row">
                    <Link to={`/datasets/${dataset.ref.id}`}>{dataset.ref.name}</Link>
                  </th>
                  <td>{dataset.source}</td>
                  <td className="right">{count(dataset.ref.n)}</td>
                  <td className="right">{count(dataset.labels.length)}</td>
                  <td className="right">{count(dataset.n_duplicates)}</td>
                  <td className="right">{count(dataset.n_rejected)}</td>
                  <td>{moment(dataset.created_at)}</td>
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
