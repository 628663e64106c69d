import type { AttributionAnswer, AttributionMethod } from "../api/client";
import { activation, duration, figure, words } from "../format";
import { Loading, Refusal } from "./states";

interface Props {
  method: string;
  about: AttributionMethod | undefined;
  answer: AttributionAnswer | undefined;
  problem: unknown;
  opacity: number;
  remove: (() => void) | null;
}

/** One method's map over the picture, with what is known about how far to trust it. */
export function HeatCard({ method, about, answer, problem, opacity, remove }: Props) {
  const map = answer?.maps[0];
  return (
    <li className="panel heat" aria-label={words(method)} aria-busy={!map && !problem}>
      <div className="panelhead">
        <h3>{words(method)}</h3>
        {remove && (
          <button type="button" className="button quiet small" aria-label={`Remove ${words(method)}`} onClick={remove}>
            <span aria-hidden="true">×</span>
          </button>
        )}
      </div>
      {about && <p className="muted small aim">{about.aim}</p>}
      {problem ? <Refusal problem={problem} /> : null}
      {!map && !problem && <Loading what={`the map (${about?.passes ?? "some"} passes)`} />}
      {answer && map && (
        <>
          <div className="overlay">
            <img src={`data:image/png;base64,${answer.picture}`} alt="What the model saw" />
            <img
              className="map"
              src={`data:image/png;base64,${map.heatmap}`}
              alt={`Map by ${words(method)}: red speaks for the output, blue against it`}
              style={{ opacity: opacity / 100 }}
            />
          </div>
          <Figures map={map} />
        </>
      )}
    </li>
  );
}

type Map = AttributionAnswer["maps"][number];

const FIGURES = [
  ["conservation_gap", "Conservation gap", "How much of the score got lost or was invented on the way back; 0 is exact."],
  ["completeness_gap", "Completeness gap", "How far the map's sum is from the score, as a share of it; 0 is exact."],
  ["deletion", "Deletion", "Area under the probability while the strongest places are removed; low is good."],
  ["insertion", "Insertion", "Area under the probability while the strongest places are shown first; high is good."],
  ["gini", "Concentration", "Gini index: 0 for an even map, 1 for one spike."],
  ["forward_change", "Forward change", "How much the rules changed the model's output; 0 is faithful."],
] as const;

function Figures({ map }: { map: Map }) {
  const absorbed = Object.entries(map.absorbed ?? {});
  return (
    <>
      <dl className="figures">
        {FIGURES.filter(([key]) => map.quality[key] != null).map(([key, name, why]) => (
          <div key={key} title={why}>
            <dt>{name}</dt>
            <dd className="num">{key.endsWith("gap") || key === "forward_change" ? activation(map.quality[key]) : figure(map.quality[key])}</dd>
          </div>
        ))}
        <div>
          <dt>Took</dt>
          <dd className="num">{map.seconds < 1 ? `${figure(map.seconds)} s` : duration(map.seconds)}</dd>
        </div>
      </dl>
      {absorbed.length > 0 && (
        <details className="small">
          <summary>Absorbed on the way</summary>
          <ul className="plain">
            {absorbed.map(([name, value]) => (
              <li key={name}>
                <span className="mono">{name}</span> <span className="num">{activation(value)}</span>
              </li>
            ))}
          </ul>
        </details>
      )}
      {(map.unruled?.length ?? 0) > 0 && <p className="small muted">Without a rule of their own: {map.unruled?.join(", ")}</p>}
    </>
  );
}

export function FigureLegend() {
  return (
    <details className="small">
      <summary>What the figures mean</summary>
      <dl className="legend">
        {FIGURES.map(([key, name, why]) => (
          <div key={key}>
            <dt>{name}</dt>
            <dd>{why}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}
