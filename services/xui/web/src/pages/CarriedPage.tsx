import { Link, useParams } from "react-router";
import { api, ask, type CarriedAtlas, type LayerTransfer } from "../api/client";
import { count, figure } from "../format";
import { useAddress } from "../parts/address";
import { atlasPath, ofText, useCarried } from "../parts/atlases";
import { Fact } from "../parts/Fact";
import { Pick } from "../parts/fields";
import { LineageLink } from "../parts/LineageLink";
import { LineChart } from "../parts/LineChart";
import { ReadText } from "../parts/ReadText";
import { Empty, Loading, Refusal } from "../parts/states";
import { TierBar } from "../parts/TierBar";
import { useTitle } from "../parts/title";
import { UnitFinder } from "../parts/UnitFinder";
import "../styles/atlas.css";

/** An atlas carried over to another model: how far it can be trusted there, and what it says of the units. */
export function CarriedPage() {
  const { alignment: id = "" } = useParams();
  const found = useCarried(id);
  useTitle(found.data?.name ?? "Carried atlas");
  return (
    <main className="page">
      <p className="crumbs">
        <Link to="/atlases">Atlases</Link> / {found.data?.name ?? id}
      </p>
      {found.isPending && <Loading what="the alignment" />}
      {found.isError && <Refusal problem={found.error} retry={() => void found.refetch()} />}
      {found.data && <Shown carried={found.data} />}
    </main>
  );
}

function Shown({ carried }: { carried: CarriedAtlas }) {
  const [search, setSearch] = useAddress();
  const names = carried.layers.map((each) => each.layer);
  const layer = carried.layers.find((each) => each.layer === search.get("layer")) ?? carried.layers[0];
  if (!layer) return null;
  return (
    <>
      <h1>{carried.name}</h1>
      <p className="lead">
        Labels of <Link to={atlasPath(carried.atlas)}>the atlas</Link> on another model, by a map that was fitted on samples both have seen.
      </p>
      {names.length > 1 && (
        <div className="pickrow">
          <Pick label="Layer" value={layer.layer} among={names} change={(name) => setSearch({ layer: name })} />
        </div>
      )}
      {layer.state === "ok" ? (
        <Trust layer={layer} text={ofText(carried)} />
      ) : (
        <Empty title="Too little evidence">
          <p>No latent fires on enough samples of both halves to be judged here. Align more samples.</p>
        </Empty>
      )}
      <p className="small">
        <LineageLink of={carried.lineage} />
      </p>
      {layer.state === "ok" && (
        <>
          {ofText(carried) && (
            <ReadText
              of={carried.id}
              layer={layer.layer}
              first="The eigenvalues of a symmetric matrix are real numbers."
              read={(body, signal) => ask(api.POST("/v1/alignments/{alignment}/localise", { params: { path: { alignment: carried.id } }, body, signal }))}
            />
          )}
          <UnitFinder key={layer.layer} carried={carried} layer={layer} />
        </>
      )}
    </>
  );
}

function Trust({ layer, text }: { layer: LayerTransfer; text: boolean }) {
  const best = layer.translators.find((each) => each.translator === layer.chosen && (each.pool ?? null) === (layer.pool ?? null));
  const curve = layer.curve ?? [];
  return (
    <>
      <dl className="facts">
        <Fact name="Map, chosen on validation" value={layer.pool ? `${layer.chosen}, ${layer.pool}-pooled` : layer.chosen} />
        <Fact name="AUROC on test" value={figure(best?.test.auroc)} />
        <Fact name="Shuffled pairs" value={figure(layer.shuffled?.auroc)} />
        {layer.lexical && <Fact name="From the tokens alone" value={figure(layer.lexical.auroc)} />}
        {layer.length && <Fact name="From the length alone" value={figure(layer.length.auroc)} />}
        <Fact name={text ? "Windows: training, test" : "Samples: training, test"} value={`${count(layer.samples.training ?? 0)}, ${count(layer.samples.test ?? 0)}`} />
        {layer.retrieval && <Fact name="Units found again (MRR, by chance)" value={`${figure(layer.retrieval.mrr)} (${figure(layer.retrieval.chance_mrr, 3)})`} />}
      </dl>
      <TierBar tiers={layer.tiers} />
      <div className="halves">
        <Maps layer={layer} />
        {curve.length > 1 && (
          <LineChart
            title="Trust by how much was shown to both"
            across="windows of training"
            file="transfer"
            series={[
              { name: "AUROC", points: curve.map((each) => [each.windows, each.auroc] as const) },
              { name: "Average precision", points: curve.map((each) => [each.windows, each.ap] as const) },
            ]}
          />
        )}
      </div>
    </>
  );
}

const familyOf = (translator: string) => translator.replace(/\(.*$/, "");

/** A row for each family of maps, a column for each pool: the test figures of the member that validation prefers. */
function Maps({ layer }: { layer: LayerTransfer }) {
  const families = [...new Set(layer.translators.map((each) => familyOf(each.translator)))];
  const pools = [...new Set(layer.translators.map((each) => each.pool ?? null))];
  const best = (family: string, pool: string | null) =>
    layer.translators.filter((each) => familyOf(each.translator) === family && (each.pool ?? null) === pool).sort((a, b) => b.validation - a.validation)[0];
  const others = [
    ...(layer.lexical ? [["tokens alone", layer.lexical.auroc, layer.lexical.ap] as const] : []),
    ["chance", 0.5, layer.base] as const,
  ];
  return (
    <div className="table-wrap">
      <table>
        <caption>AUROC and average precision on test samples, by map{pools[0] !== null && " and pool"}</caption>
        <thead>
          <tr>
            <th scope="col">Map</th>
            {pools.map((pool) => (
              <th key={pool} scope="col" className="right">
                {pool ?? "Test"}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {families.map((family) => (
            <tr key={family}>
              <th scope="row">{family}</th>
              {pools.map((pool) => {
                const one = best(family, pool);
                const chosen = one !== undefined && one.translator === layer.chosen && (one.pool ?? null) === (layer.pool ?? null);
                return (
                  <td key={pool} className="right num" title={one?.translator}>
                    {chosen ? <strong>{figure(one.test.auroc, 3)}</strong> : figure(one?.test.auroc, 3)} <span className="muted">{figure(one?.test.ap, 3)}</span>
                  </td>
                );
              })}
            </tr>
          ))}
          {others.map(([name, auroc, ap]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td className="right num" colSpan={pools.length}>
                {figure(auroc, 3)} <span className="muted">{figure(ap, 3)}</span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
