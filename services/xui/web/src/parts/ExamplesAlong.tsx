import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, ask, type ComponentRef, type ExampleRange, type Snapshot } from "../api/client";
import { activation, percent, plural } from "../format";
import { Pick } from "./fields";
import { Gallery } from "./Gallery";
import { Loading, Refusal } from "./states";

const WAYS = ["activation", "quantile"] as const satisfies readonly ExampleRange["by"][];
const CUT = { activation: "equal steps of activation", quantile: "equal numbers of pictures" };

/** Pictures along all that a component does: what it does weakly often tells more than its top. */
export function ExamplesAlong({ snapshot, at, of: { layer, index, sign } }: { snapshot: Snapshot; at: string; of: ComponentRef }) {
  const [by, setBy] = useState<ExampleRange["by"]>("activation");
  const found = useQuery({
    queryKey: ["range", at, layer, index, sign, by],
    queryFn: ({ signal }) =>
      ask(api.GET("/v1/snapshots/{snapshot}/components/{layer}/{index}/range", { params: { path: { snapshot: at, layer, index }, query: { sign, by } }, signal })),
    staleTime: Infinity,
    placeholderData: keepPreviousData,
  });
  return (
    <section className="panel" aria-labelledby="along-title" aria-busy={found.isFetching}>
      <div className="panelhead">
        <h2 id="along-title">Along the whole range</h2>
        <Pick label="Cut into" value={by} among={WAYS} show={(each) => CUT[each]} change={setBy} />
      </div>
      {found.isPending && <Loading what="examples" />}
      {found.isError && <Refusal problem={found.error} />}
      {found.data && (
        <ol className={found.isPlaceholderData ? "along stale" : "along"}>
          {found.data.sets.map((set, place) => (
            <li key={place}>
              <p>
                <b className="num">
                  {activation(set.low)} to {activation(set.high)}
                </b>
                <br />
                <span className="muted small">
                  {plural(set.n, "picture")} · {percent(set.n / found.data.n)}
                </span>
              </p>
              {set.n > 0 ? (
                <Gallery dataset={snapshot.dataset.id} at={at} examples={set.examples} label={`Activations from ${activation(set.low)} to ${activation(set.high)}`} />
              ) : (
                <p className="muted small">No picture.</p>
              )}
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
