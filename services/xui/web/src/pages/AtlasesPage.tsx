import { Link } from "react-router";
import { count, figure, moment } from "../format";
import { atlasPath, carriedPath } from "../parts/atlases";
import { useListing } from "../parts/listing";
import { Empty, Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";

/** Atlases of labelled latents, and the models that they were carried over to. */
export function AtlasesPage() {
  useTitle("Atlases");
  const atlases = useListing("/v1/atlases");
  const carried = useListing("/v1/alignments");
  const names = new Map(atlases.items.map((each) => [each.id, each.name]));
  return (
    <main className="page">
      <p className="crumbs">
        <Link to="/alignment">Alignment</Link> / Atlases
      </p>
      <h1>Atlases</h1>
      <p className="lead">The latents of a sparse autoencoder, each with a label that was judged; carried over to another model, they name its units too.</p>
      {atlases.query.isPending && <Loading what="atlases" />}
      {atlases.query.isError && <Refusal problem={atlases.query.error} retry={() => void atlases.query.refetch()} />}
      {atlases.query.isSuccess && atlases.items.length === 0 && (
        <Empty title="No atlas yet">
          <p>Train a sparse autoencoder on what a model does, and name its latents:</p>
          <pre className="command">{"xsys sae train --snapshot SNAPSHOT --layer LAYER --name latents\nxsys atlas build latents\nxsys demo language"}</pre>
        </Empty>
      )}
      {atlases.items.length > 0 && (
        <div className="table-wrap spaced">
          <table>
            <caption>Atlases</caption>
            <thead>
              <tr>
                <th scope="col">Atlas</th>
                <th scope="col">Layer</th>
                <th scope="col">Of</th>
                <th scope="col" className="right">
                  Latents
                </th>
                <th scope="col" className="right">
                  Verified
                </th>
                <th scope="col" className="right">
                  AUROC
                </th>
                <th scope="col">Created</th>
              </tr>
            </thead>
            <tbody>
              {atlases.items.map((each) => (
                <tr key={each.id}>
                  <th scope="row">
                    <Link to={atlasPath(each.id)}>{each.name}</Link>
                  </th>
                  <td className="mono">{each.layer}</td>
                  <td>{each.capture ? "text" : "pictures"}</td>
                  <td className="right num">{count(each.latents)}</td>
                  <td className="right num">{count(each.tiers.verified ?? 0)}</td>
                  <td className="right num">{figure(each.auroc)}</td>
                  <td>{moment(each.created_at)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {atlases.more}
      {carried.query.isError && <Refusal problem={carried.query.error} retry={() => void carried.query.refetch()} />}
      {carried.items.length > 0 && (
        <div className="table-wrap spaced">
          <table>
            <caption>Carried over to other models</caption>
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Atlas</th>
                <th scope="col">Layers</th>
                <th scope="col">Map</th>
                <th scope="col" className="right">
                  AUROC
                </th>
                <th scope="col">Created</th>
              </tr>
            </thead>
            <tbody>
              {carried.items.map((each) => (
                <tr key={each.id}>
                  <th scope="row">
                    <Link to={carriedPath(each.id)}>{each.name}</Link>
                  </th>
                  <td>
                    <Link to={atlasPath(each.atlas)}>{names.get(each.atlas) ?? each.atlas}</Link>
                  </td>
                  <td className="mono">{each.layers.map((layer) => layer.layer).join(", ")}</td>
                  <td>{each.layers.map((layer) => layer.chosen ?? "too little evidence").join(", ")}</td>
                  <td className="right num">{each.layers.map((layer) => figure(layer.translators.find((one) => one.translator === layer.chosen && one.pool === layer.pool)?.test.auroc)).join(", ")}</td>
                  <td>{moment(each.created_at)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {carried.more}
    </main>
  );
}
