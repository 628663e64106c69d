import { useEffect, useState } from "react";
import type { SnapshotLayer } from "../api/client";
import { count, figure, percent } from "../format";
import type { Asked } from "./query";

interface Props {
  layers: SnapshotLayer[];
  asked: Asked;
  change: (part: Partial<Asked>) => void;
}

/** The snapshot's layers with their figures; ticking some narrows the search to them. */
export function LayersPanel({ layers, asked, change }: Props) {
  const toggle = (name: string) => {
    const others = asked.layers.filter((layer) => layer !== name);
    change({ layers: others.length < asked.layers.length ? others : [...asked.layers, name] });
  };
  return (
    <section className="panel" aria-labelledby="layers-title">
      <div className="panelhead">
        <h2 id="layers-title">Layers</h2>
        {asked.layers.length > 0 && (
          <button type="button" className="button quiet small" onClick={() => change({ layers: [] })}>
            Search all
          </button>
        )}
      </div>
      <ul className="layers">
        {layers.map((layer) => (
          <li key={layer.name}>
            <label>
              <input type="checkbox" checked={asked.layers.includes(layer.name)} onChange={() => toggle(layer.name)} />
              <span className="layer">{layer.name}</span>
              <span className="muted num">{count(layer.components)}</span>
            </label>
            <ClarityBar layer={layer} />
            <p className="muted small num">
              {count(layer.dead)} dead · {count(layer.insufficient_evidence)} with too few examples ·{" "}
              {percent(layer.polysemantic_share)} with several meanings
            </p>
          </li>
        ))}
      </ul>
      <p className="muted small">
        Bars: mean clarity of a layer's components. The mark is the clarity of random sets of pictures.
      </p>
    </section>
  );
}

function ClarityBar({ layer }: { layer: SnapshotLayer }) {
  const share = (value: number) => `${Math.max(0, Math.min(1, value)) * 100}%`;
  const mean = layer.clarity_mean;
  return (
    <div className="claritybar">
      <span
        className="track"
        role="img"
        aria-label={`mean clarity ${figure(mean)}, of random sets ${figure(layer.clarity_null)}`}
      >
        {mean !== null && <span className="fill" style={{ width: share(mean) }} />}
        <span className="null" style={{ left: share(layer.clarity_null) }} />
      </span>
      <span className="num small">{figure(mean)}</span>
    </div>
  );
}

export function Thresholds({ asked, change }: Pick<Props, "asked" | "change">) {
  return (
    <section className="panel" aria-labelledby="filter-title">
      <h2 id="filter-title">Show only</h2>
      <div className="thresholds">
        <Threshold label="Clarity at least" value={asked.minClarity} set={(minClarity) => change({ minClarity })} />
        <Threshold label="Score at least" value={asked.minScore} set={(minScore) => change({ minScore })} />
      </div>
    </section>
  );
}

function Threshold({ label, value, set }: { label: string; value: number | null; set: (value: number | null) => void }) {
  const [text, setText] = useState(value === null ? "" : String(value));
  useEffect(() => setText(value === null ? "" : String(value)), [value]);
  const commit = () => {
    const number = text.trim() === "" ? null : Number(text);
    if (number !== value && (number === null || Number.isFinite(number))) set(number);
  };
  return (
    <label>
      {label}
      <input
        type="number"
        min="-1"
        max="1"
        step="0.05"
        placeholder="any"
        value={text}
        onChange={(event) => setText(event.target.value)}
        onBlur={commit}
        onKeyDown={(event) => {
          if (event.key === "Enter") commit();
        }}
      />
    </label>
  );
}
