import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { api, ask, type CarriedAtlas, type LayerTransfer } from "../api/client";
import { figure } from "../format";
import { useMay } from "../session";
import { Tier } from "./TierBar";
import { Loading, Refusal } from "./states";
import { steerPath } from "./steer";

const FOUND = 12;

/** Units of the subject by a meaning, and meanings of a unit: what a carried atlas is for. */
export function UnitFinder({ carried, layer }: { carried: CarriedAtlas; layer: LayerTransfer }) {
  const [text, setText] = useState("");
  const [unit, setUnit] = useState<number | null>(null);
  const found = useMutation({
    mutationFn: () =>
      ask(api.POST("/v1/alignments/{alignment}/search", { params: { path: { alignment: carried.id } }, body: { text: text.trim(), layer: layer.layer, k: FOUND, latents: 8 } })),
  });
  return (
    <section className="panel" aria-labelledby="units-title">
      <h2 id="units-title">Units of {layer.layer}</h2>
      <form
        className="pickrow"
        onSubmit={(event) => {
          event.preventDefault();
          found.mutate();
        }}
      >
        <label>
          Units that are about
          <input type="text" required maxLength={200} value={text} onChange={(event) => setText(event.target.value)} />
        </label>
        <button type="submit" className="button" disabled={found.isPending || text.trim() === ""}>
          Find
        </button>
        <label>
          or what unit number
          <input type="number" min={0} max={layer.width - 1} value={unit ?? ""} onChange={(event) => setUnit(event.target.value === "" ? null : Math.min(layer.width - 1, Math.max(0, Math.floor(Number(event.target.value)))))} /> is about
        </label>
      </form>
      {found.isError && <Refusal problem={found.error} />}
      {found.data && (
        <>
          <p className="small muted">Through {found.data.latents.map((each) => `“${each.text}”`).join(", ")}</p>
          <ul className="chips" aria-label="Units that were found">
            {found.data.units.map((each) => (
              <li key={each.unit}>
                <button type="button" className="button small" aria-pressed={unit === each.unit} onClick={() => setUnit(each.unit)}>
                  {each.unit} <span className="muted num">{figure(each.score)}</span>
                </button>
              </li>
            ))}
          </ul>
        </>
      )}
      {unit !== null && <UnitLabels carried={carried} layer={layer.layer} unit={unit} />}
    </section>
  );
}

function UnitLabels({ carried, layer, unit }: { carried: CarriedAtlas; layer: string; unit: number }) {
  const maySteer = useMay("steer");
  const found = useQuery({
    queryKey: ["unit labels", carried.id, layer, unit],
    queryFn: ({ signal }) => ask(api.GET("/v1/alignments/{alignment}/units/{layer}/{unit}", { params: { path: { alignment: carried.id, layer, unit } }, signal })),
    staleTime: Infinity,
  });
  const way = carried.capture ? steerPath(carried.model, layer, [unit], { change: "add" }).replace("/steer?", "/steer/text?") : steerPath(carried.model, layer, [unit]);
  return (
    <div aria-busy={found.isFetching}>
      <h3>Unit {unit}</h3>
      {found.isPending && <Loading what="its labels" />}
      {found.isError && <Refusal problem={found.error} />}
      {found.data?.labels.length === 0 && <p className="muted">No label that is trusted on both sides stands out for this unit.</p>}
      {found.data && found.data.labels.length > 0 && (
        <div className="table-wrap">
          <table>
            <thead>
              <tr>
                <th scope="col">Label</th>
                <th scope="col" className="right">
                  Spreads above shuffled pairs
                </th>
                <th scope="col" className="right">
                  Percentile
                </th>
                <th scope="col">In the atlas</th>
                <th scope="col">Carried</th>
              </tr>
            </thead>
            <tbody>
              {found.data.labels.map((each) => (
                <tr key={each.latent}>
                  <th scope="row">
                    {each.text} <span className="muted num">{each.latent}</span>
                  </th>
                  <td className="right num">{figure(each.z, 1)}</td>
                  <td className="right num">{figure(each.percentile, 0)}</td>
                  <td>
                    <Tier name={each.label_tier} />
                  </td>
                  <td>
                    <Tier name={each.transfer_tier} /> <span className="muted num">{figure(each.transfer_auroc)}</span>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {maySteer && (
        <p>
          <Link className="button small" to={way}>
            Steer by this unit
          </Link>
        </p>
      )}
    </div>
  );
}
