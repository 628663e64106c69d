import { figure } from "../format";
import { binned, BINS, layerColour, rampColour } from "./colours";
import type { Colouring, PointMap } from "./map";

/** What the colours mean. */
export function MapLegend({ map, colouring }: { map: PointMap; colouring: Colouring }) {
  if (colouring === "layer")
    return (
      <ul className="maplegend small" aria-label="Colours">
        {map.layers.map((name, place) => (
          <li key={name}>
            <span className="chip-dot" style={{ background: layerColour(place) }} /> <span className="mono">{name}</span>
          </li>
        ))}
      </ul>
    );
  const { low, high } = binned(map[colouring]);
  return (
    <p className="maplegend small" aria-label="Colours">
      {colouring} <span className="num">{figure(low)}</span>
      <span className="ramp" aria-hidden="true">
        {Array.from({ length: BINS }, (_, bin) => (
          <span key={bin} style={{ background: rampColour(bin) }} />
        ))}
      </span>
      <span className="num">{figure(high)}</span>
    </p>
  );
}
