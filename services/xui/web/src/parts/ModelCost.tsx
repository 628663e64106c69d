import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api, ask, type Model } from "../api/client";
import { count, figure, percent } from "../format";
import { useMay } from "../session";
import { Columns } from "./Columns";
import { Pick } from "./fields";
import { Refusal } from "./states";

const ALONE = "";

/** Size and speed of a model, measured on the server when asked, beside another model such as its parent. */
export function ModelCost({ model, others }: { model: Model; others: Model[] }) {
  const may = useMay("search");
  const [against, setAgainst] = useState(ALONE);
  const measure = useMutation({
    mutationFn: () =>
      ask(api.GET("/v1/models/{model}/cost", { params: { path: { model: model.ref.id }, query: against === ALONE ? {} : { against } } })),
  });
  const comparable = others.filter((each) => each.ref.preprocessing && each.ref.id !== model.ref.id);
  const found = measure.data;
  if (!may) return null;
  return (
    <details className="spaced">
      <summary>What it costs</summary>
      <div className="pickrow spaced">
        <Pick
          label="Beside"
          value={against}
          among={[ALONE, ...comparable.map((each) => each.ref.id)]}
          show={(id) => comparable.find((each) => each.ref.id === id)?.ref.name ?? "nothing"}
          change={setAgainst}
        />
        <button type="button" className="button" disabled={measure.isPending} onClick={() => measure.mutate()}>
          {measure.isPending ? "Measuring …" : "Measure"}
        </button>
      </div>
      {measure.isError && <Refusal problem={measure.error} />}
      {found && (
        <div className="table-wrap spaced">
          <table>
            <caption>
              One picture, median of {found.model.rounds}, {found.model.threads} threads
              {found.speed_up ? `: ${figure(found.speed_up, 3)} times as fast` : ""}
            </caption>
            <Columns names={["", "Parameters", "Stored MB", "Operations", "Sparsity", "Gini", "Pixels", "Milliseconds", "Middle half"]} />
            <tbody>
              {[found.model, ...(found.against ? [found.against] : [])].map((each) => (
                <tr key={each.model}>
                  <th scope="row">{each.name}</th>
                  <td className="num">{count(each.parameters)}</td>
                  <td className="num">{figure(each.weights_bytes / 1e6, 3)}</td>
                  <td className="num">{count(each.macs)}</td>
                  <td className="num">{percent(each.sparsity)}</td>
                  <td className="num">{figure(each.gini, 3)}</td>
                  <td className="num">{each.side}</td>
                  <td className="num">{figure(each.latency_ms, 3)}</td>
                  <td className="num">
                    {figure(each.latency_low_ms, 3)} to {figure(each.latency_high_ms, 3)}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}
