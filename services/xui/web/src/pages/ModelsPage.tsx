import type { Model } from "../api/client";
import { count, moment, plural, shortHash } from "../format";
import { Fact } from "../parts/Fact";
import { LineageLink } from "../parts/LineageLink";
import { useListing } from "../parts/listing";
import { ModelCost } from "../parts/ModelCost";
import { NewModel } from "../parts/NewModel";
import { Empty, Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import { useMay } from "../session";

export function ModelsPage() {
  useTitle("Models");
  const may = useMay("register");
  const { items, query, more } = useListing("/v1/models");
  return (
    <main className="page">
      <h1>Models</h1>
      <p className="lead">Registered models, and the layers that can be explained.</p>
      {may && <NewModel />}
      {query.isPending && <Loading what="models" />}
      {query.isError && <Refusal problem={query.error} retry={() => void query.refetch()} />}
      {query.isSuccess && items.length === 0 && (
        <Empty title="No model yet">
          <p>Register one; its weights are hashed and its layers found by running it once:</p>
          <pre className="command">xsys model add lite0 --architecture timm:tf_efficientnet_lite0</pre>
        </Empty>
      )}
      {items.map((model, i) => (
        <ModelPanel key={model.ref.id} model={model} open={i === 0} others={items} />
      ))}
      {more}
    </main>
  );
}

function ModelPanel({ model, open, others }: { model: Model; open: boolean; others: Model[] }) {
  const reads = model.ref.preprocessing;
  return (
    <section className="panel spaced" aria-label={model.ref.name}>
      <h2>{model.ref.name}</h2>
      <dl className="facts">
        <Fact name="Architecture" value={model.ref.architecture} />
        <Fact name="Parameters" value={count(model.parameters)} />
        <Fact name="Input" value={reads ? `${reads.crop} × ${reads.crop} px` : "text"} />
        <Fact name="Weights" value={shortHash(model.ref.weights_sha256)} />
        <Fact name="Licence" value={model.licence ?? "–"} />
        <Fact name="Created" value={moment(model.created_at)} />
        <Fact name="Lineage" value={<LineageLink of={model.lineage} what={shortHash(model.lineage)} />} />
      </dl>
      {reads && <ModelCost model={model} others={others} />}
      <details open={open} className="spaced">
        <summary>{plural(model.layers.length, "layer")}, early to late</summary>
        <div className="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Layer</th>
                <th scope="col">Module</th>
                <th scope="col">Output</th>
                <th scope="col" className="right">
                  Width
                </th>
                <th scope="col">Pooling</th>
                <th scope="col">Signs</th>
              </tr>
            </thead>
            <tbody>
              {model.layers.map((layer) => (
                <tr key={layer.name}>
                  <th scope="row" className="mono">
                    {layer.name}
                  </th>
                  <td>{layer.module}</td>
                  <td>{layer.kind}</td>
                  <td className="right">{count(layer.width)}</td>
                  <td>{layer.pooling}</td>
                  <td>{layer.signed ? "+ and −" : "+"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </section>
  );
}
