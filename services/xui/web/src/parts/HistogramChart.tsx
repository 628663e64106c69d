import type { Histogram } from "../api/client";
import { activation, count } from "../format";

const WIDTH = 560;
const HEIGHT = 150;
const FOOT = 26;

/** Counts on a logarithmic scale: most pictures hardly activate a component, and the few that do are the point. */
export function HistogramChart({ histogram, range }: { histogram: Histogram; range: readonly [number, number] | null }) {
  const { counts, edges } = histogram;
  const low = edges[0] ?? 0;
  const high = edges.at(-1) ?? 1;
  const top = Math.log1p(Math.max(1, ...counts));
  const x = (value: number) => (high > low ? ((value - low) / (high - low)) * WIDTH : 0);
  const total = counts.reduce((sum, n) => sum + n, 0);
  const label = `Histogram of ${count(total)} activations from ${activation(low)} to ${activation(high)}`;
  return (
    <svg className="histogram" viewBox={`0 0 ${WIDTH} ${HEIGHT + FOOT}`} role="img" aria-label={label}>
      {counts.map((n, i) => {
        const left = x(edges[i] ?? low);
        const right = x(edges[i + 1] ?? high);
        const height = (Math.log1p(n) / top) * (HEIGHT - 6);
        const shown = range !== null && (edges[i + 1] ?? high) > range[0] && (edges[i] ?? low) < range[1];
        return (
          <rect
            key={i}
            className={shown ? "bar shown" : "bar"}
            x={left + 0.75}
            y={HEIGHT - height}
            width={Math.max(0.5, right - left - 1.5)}
            height={height}
          >
            <title>
              {activation(edges[i])} to {activation(edges[i + 1])}: {count(n)}
            </title>
          </rect>
        );
      })}
      <line className="axis" x1="0" x2={WIDTH} y1={HEIGHT} y2={HEIGHT} />
      {low < 0 && high > 0 && <line className="axis zero" x1={x(0)} x2={x(0)} y1="0" y2={HEIGHT} />}
      <text x="0" y={HEIGHT + 22}>
        {activation(low)}
      </text>
      {low < 0 && high > 0 && x(0) > 110 && x(0) < WIDTH - 110 && (
        <text x={x(0)} y={HEIGHT + 22} textAnchor="middle">
          0
        </text>
      )}
      <text x={WIDTH} y={HEIGHT + 22} textAnchor="end">
        {activation(high)}
      </text>
    </svg>
  );
}
