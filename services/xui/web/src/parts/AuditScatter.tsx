import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "react-router";
import { api, ask, type Audit, type AuditPoint } from "../api/client";
import { count, figure, percent, words } from "../format";
import { ticks } from "./chart";
import { componentPath } from "./links";
import { Loading, Refusal } from "./states";
import { VERDICTS, type Verdict, VerdictMark } from "./verdicts";

const WIDTH = 640;
const HEIGHT = 400;
const LEFT = 52;
const FOOT = 42;

/** Each component between what the class may and may not rest on; the larger the dot, the more of the class rests on it. */
export function AuditScatter({ audit, readout }: { audit: Audit; readout: string }) {
  const points = useQuery({
    queryKey: ["audit-points", audit.id, readout],
    queryFn: ({ signal }) =>
      ask(api.GET("/v1/audits/{audit}/points/{readout}", { params: { path: { audit: audit.id, readout } }, signal })),
    staleTime: Infinity,
  });
  const verdicts = (Object.keys(VERDICTS) as Verdict[]).filter((verdict) => points.data?.points.some((each) => each.verdict === verdict));
  return (
    <figure className="panel" aria-labelledby="scatter-title">
      <figcaption>
        <h2 id="scatter-title">Valid against spurious</h2>
      </figcaption>
      {points.isPending && <Loading what="the points" />}
      {points.isError && <Refusal problem={points.error} retry={() => void points.refetch()} />}
      {points.data && (
        <>
          <Plot points={points.data.points} snapshot={audit.snapshot} readout={readout} />
          <ul className="maplegend small" aria-label="Verdicts">
            {verdicts.map((verdict) => (
              <li key={verdict}>
                <VerdictMark verdict={verdict} />
              </li>
            ))}
          </ul>
          <p className="muted small">
            {points.data.points.length < points.data.components &&
              `The ${count(points.data.points.length)} most relevant of ${count(points.data.components)} components. `}
            Above the diagonal a component stands rather for what the class may not rest on. The table below lists those that matter.
          </p>
        </>
      )}
    </figure>
  );
}

function Plot({ points, snapshot, readout }: { points: AuditPoint[]; snapshot: string; readout: string }) {
  const navigate = useNavigate();
  const known = points.map((each) => ({ ...each, x: each.valid ?? 0, y: each.spurious ?? 0 }));
  const all = known.flatMap((each) => [each.x, each.y]);
  const low = Math.min(0, ...all);
  const high = Math.max(0.1, ...all);
  const x = (value: number) => LEFT + ((value - low) / (high - low)) * (WIDTH - LEFT - 14);
  const y = (value: number) => HEIGHT - FOOT - ((value - low) / (high - low)) * (HEIGHT - FOOT - 12);
  return (
    <svg className="scatter" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`${points.length} components of ${readout} between valid and spurious concepts`}>
      {ticks(low, high).map((value) => (
        <g key={value}>
          <line className="grid" x1={LEFT} x2={WIDTH - 14} y1={y(value)} y2={y(value)} />
          <line className="grid" x1={x(value)} x2={x(value)} y1={12} y2={HEIGHT - FOOT} />
          <text x={LEFT - 6} y={y(value) + 4} textAnchor="end">
            {figure(value, 1)}
          </text>
          <text x={x(value)} y={HEIGHT - FOOT + 15} textAnchor="middle">
            {figure(value, 1)}
          </text>
        </g>
      ))}
      <line className="diagonal" x1={x(low)} y1={y(low)} x2={x(high)} y2={y(high)} />
      <text x={(LEFT + WIDTH) / 2} y={HEIGHT - 6} textAnchor="middle">
        alignment with what the class may rest on
      </text>
      <text transform={`translate(13 ${(HEIGHT - FOOT) / 2}) rotate(-90)`} textAnchor="middle">
        with what it may not
      </text>
      {[...known].reverse().map((each) => (
        <circle
          key={`${each.layer}:${each.index}:${each.sign}`}
          className={each.verdict}
          cx={x(each.x)}
          cy={y(each.y)}
          r={2 + Math.sqrt(each.share) * 40}
          onClick={() => navigate(componentPath(snapshot, each))}
        >
          <title>
            {each.layer} · {each.index}: {words(each.verdict)}, {percent(each.share)} of the layer's relevance
          </title>
        </circle>
      ))}
    </svg>
  );
}
