import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { api, ask, type Snapshot } from "../api/client";
import { count, figure } from "../format";
import { componentName, componentPath, likePath } from "./links";
import type { PointMap } from "./map";
import { Thumb } from "./Thumb";

const MOST = 40;

interface Props {
  snapshot: Snapshot;
  at: string;
  map: PointMap;
}

const refOf = (map: PointMap, place: number) => ({
  layer: map.layers[map.layer[place]!]!,
  index: map.index[place]!,
  sign: map.sign[place]!,
});

const isSigned = (snapshot: Snapshot, layer: string): boolean => snapshot.layers.find((each) => each.name === layer)?.signed ?? false;

/** The selected components by name, clearest first; the way to them without a pointer. */
export function Selection({ snapshot, at, map, places, all }: Props & { places: number[]; all: boolean }) {
  const value = (place: number) => (Number.isFinite(map.clarity[place]) ? map.clarity[place]! : -2);
  const shown = [...places].sort((a, b) => value(b) - value(a)).slice(0, MOST);
  return (
    <section className="panel" aria-labelledby="selection-title">
      <h2 id="selection-title">
        {all ? "All components" : "Selected"} <span className="muted">{count(places.length)}</span>
      </h2>
      {places.length === 0 && <p className="muted">The region holds no component.</p>}
      <ol className="nearest selection" aria-label="Clearest of the selection">
        {shown.map((place) => {
          const ref = refOf(map, place);
          return (
            <li key={place}>
              <Link to={componentPath(at, ref)}>{componentName(ref, isSigned(snapshot, ref.layer))}</Link>
              <span className="num">{figure(map.clarity[place])}</span>
            </li>
          );
        })}
      </ol>
      {places.length > MOST && <p className="muted small">The {MOST} clearest, with their clarity.</p>}
    </section>
  );
}

/** One component: its figures, and the pictures that activate it most. */
export function PointCard({ snapshot, at, map, place, small = false }: Props & { place: number; small?: boolean }) {
  const ref = refOf(map, place);
  const sign = ref.sign === -1 ? -1 : 1;
  const detail = useQuery({
    queryKey: ["component", at, { layer: ref.layer, index: ref.index, sign }],
    queryFn: ({ signal }) =>
      ask(
        api.GET("/v1/snapshots/{snapshot}/components/{layer}/{index}", {
          params: { path: { snapshot: at, layer: ref.layer, index: ref.index }, query: { sign } },
          signal,
        }),
      ),
    staleTime: Infinity,
  });
  const name = componentName(ref, isSigned(snapshot, ref.layer));
  return (
    <>
      {small ? <b>{name}</b> : <h2>{name}</h2>}
      <p className="small muted">
        clarity {figure(map.clarity[place])} · several meanings {figure(map.polysemanticity[place])} · redundancy {figure(map.redundancy[place])}
      </p>
      <span className="thumbs four">
        {detail.data?.examples.slice(0, small ? 4 : 8).map((example) => (
          <Thumb key={example.sample} dataset={snapshot.dataset.id} example={example} />
        ))}
      </span>
      {!small && (
        <p className="actions spaced">
          <Link className="button primary" to={componentPath(at, ref)}>
            Open
          </Link>
          <Link className="button" to={likePath(at, ref)}>
            Search like this
          </Link>
        </p>
      )}
    </>
  );
}
