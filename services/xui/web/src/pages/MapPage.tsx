import { useQuery } from "@tanstack/react-query";
import { useCallback, useMemo, useState } from "react";
import { useParams, useSearchParams } from "react-router";
import type { Snapshot } from "../api/client";
import { count, plural } from "../format";
import { Choices } from "../parts/Choosers";
import { useAddress } from "../parts/address";
import { type Colouring, COLOURINGS, fetchMap, type Layout, type PointMap, readPolygon, selected, writePolygon } from "../parts/map";
import { MapLegend } from "../parts/MapLegend";
import { type Tool, PointCanvas } from "../parts/PointCanvas";
import { PointCard, Selection } from "../parts/Selection";
import { useSnapshot } from "../parts/snapshot";
import { SnapshotHead } from "../parts/SnapshotHead";
import { Empty, Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import "../styles/map.css";

export function MapPage() {
  const { snapshot: at = "" } = useParams();
  const [search] = useSearchParams();
  const layout: Layout = search.get("layout") === "pca" ? "pca" : "umap";
  const snapshot = useSnapshot(at);
  const map = useQuery({
    queryKey: ["map", at, layout],
    queryFn: ({ signal }) => fetchMap(at, layout, signal),
    enabled: snapshot.isSuccess,
    staleTime: Infinity,
  });
  useTitle(`Map · ${snapshot.data?.name ?? at}`);
  return (
    <main className="page">
      {snapshot.isPending && <Loading what="the snapshot" />}
      {snapshot.isError && <Refusal problem={snapshot.error} retry={() => void snapshot.refetch()} />}
      {snapshot.data && <SnapshotHead snapshot={snapshot.data} at={at} />}
      {snapshot.data && map.isPending && <Loading what="the map; the first time it is computed" />}
      {map.isError && <Refusal problem={map.error} retry={() => void map.refetch()} />}
      {map.data?.n === 0 && (
        <Empty title="Nothing to map">
          <p>No component of this snapshot has enough examples for a place on the map.</p>
        </Empty>
      )}
      {snapshot.data && map.data && map.data.n > 0 && <Explore snapshot={snapshot.data} at={at} map={map.data} layout={layout} />}
    </main>
  );
}

interface ExploreProps {
  snapshot: Snapshot;
  at: string;
  map: PointMap;
  layout: Layout;
}

const TOOLS: [Tool, string][] = [
  ["move", "Move"],
  ["lasso", "Lasso"],
  ["box", "Box"],
];

function Explore({ snapshot, at, map, layout }: ExploreProps) {
  const [search, setSearch] = useAddress();
  const [tool, setTool] = useState<Tool>("move");
  const [hovered, setHovered] = useState<{ place: number; x: number; y: number } | null>(null);
  const set = useCallback(
    (changes: Record<string, string | string[] | null>) =>
      setSearch(
        (now) => {
          for (const [name, value] of Object.entries(changes)) {
            now.delete(name);
            for (const each of value === null ? [] : [value].flat()) now.append(name, each);
          }
          return now;
        },
        { replace: true },
      ),
    [setSearch],
  );
  const colouring: Colouring = COLOURINGS.find((each) => each === search.get("colour")) ?? "layer";
  const layers = search.getAll("layer");
  const layersKey = layers.join("\n");
  const regionText = search.get("region");
  const region = useMemo(() => readPolygon(regionText), [regionText]);
  const pickedText = search.get("point");
  const picked = pickedText !== null && Number(pickedText) < map.n ? Number(pickedText) : null;
  const places = useMemo(() => selected(map, region, layersKey === "" ? [] : layersKey.split("\n")), [map, region, layersKey]);
  const chosen = useMemo(() => (places.length === map.n ? null : new Set(places)), [map, places]);
  const hover = useCallback((place: number | null, spot: { x: number; y: number }) => setHovered(place === null ? null : { place, ...spot }), []);
  return (
    <div className="withside">
      <div className="mainside">
        <div className="maptools" role="toolbar" aria-label="Map">
          <span role="group" aria-label="Tool">
            {TOOLS.map(([name, title]) => (
              <button key={name} type="button" className="button small" aria-pressed={tool === name} onClick={() => setTool(name)}>
                {title}
              </button>
            ))}
          </span>
          <label>
            Colour{" "}
            <select value={colouring} onChange={(event) => set({ colour: event.target.value })}>
              {COLOURINGS.map((each) => (
                <option key={each}>{each}</option>
              ))}
            </select>
          </label>
          <label>
            Layout{" "}
            <select value={layout} onChange={(event) => set({ layout: event.target.value, region: null })}>
              <option value="umap">UMAP</option>
              <option value="pca">PCA</option>
            </select>
          </label>
          {(region !== null || layers.length > 0) && (
            <button type="button" className="button small" onClick={() => set({ region: null, layer: null })}>
              Select all
            </button>
          )}
        </div>
        <div className="panel mapbox">
          <PointCanvas
            map={map}
            colouring={colouring}
            chosen={chosen}
            picked={picked}
            region={region}
            tool={tool}
            select={(polygon) => set({ region: polygon === null ? null : writePolygon(polygon) })}
            pick={(place) => set({ point: place === null ? null : String(place) })}
            hover={hover}
          />
          {hovered && (
            <div className="tip" style={{ left: hovered.x + 14, top: hovered.y + 14 }}>
              <PointCard snapshot={snapshot} at={at} map={map} place={hovered.place} small />
            </div>
          )}
        </div>
        <MapLegend map={map} colouring={colouring} />
        <p className="muted small">
          {plural(map.n, "component")} with enough examples; like meanings lie near each other, and distances are for the eye only. Drag to
          move, turn the wheel to zoom; <kbd className="key">+</kbd> <kbd className="key">−</kbd> <kbd className="key">0</kbd> and arrows do
          the same.
        </p>
      </div>
      <aside aria-label="Selection">
        {picked !== null && (
          <section className="panel" aria-label="Picked component">
            <PointCard snapshot={snapshot} at={at} map={map} place={picked} />
          </section>
        )}
        <Selection snapshot={snapshot} at={at} map={map} places={places} all={chosen === null} />
        <section className="panel" aria-label="Layers">
          <Choices
            title={`Layers (${count(map.layers.length)})`}
            names={map.layers}
            chosen={layers.length === 0 ? map.layers : layers}
            most={map.layers.length}
            change={(names) => set({ layer: names.length === map.layers.length ? null : names })}
          />
        </section>
      </aside>
    </div>
  );
}
