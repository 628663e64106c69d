import { useRef } from "react";
import { activation } from "../format";
import { extent, type Series, ticks } from "./chart";
import { download, svgText } from "./download";
import "../styles/training.css";

const WIDTH = 420;
const HEIGHT = 220;
const LEFT = 54;
const RIGHT = 10;
const TOP = 10;
const FOOT = 34;

interface Props {
  title: string;
  across: string;
  series: Series[];
  file: string;
}

/** Lines over a common axis. Each has a colour and a dash, so that they can be told apart without colours. */
export function LineChart({ title, across, series, file }: Props) {
  const drawing = useRef<SVGSVGElement>(null);
  const { x: xs, y: ys } = extent(series);
  const x = (value: number) => LEFT + ((value - xs[0]) / (xs[1] - xs[0])) * (WIDTH - LEFT - RIGHT);
  const y = (value: number) => HEIGHT - FOOT - ((value - ys[0]) / (ys[1] - ys[0])) * (HEIGHT - FOOT - TOP);
  const whole = (value: number) => Number.isInteger(value);
  const last = series.map((each) => `${each.name} ends at ${activation(each.points.at(-1)?.[1])}`).join("; ");
  return (
    <figure className="panel chart">
      <figcaption className="panelhead">
        <h3>{title}</h3>
        <button
          type="button"
          className="button quiet small"
          aria-label={`Save ${title} as SVG`}
          onClick={() => drawing.current && download(`${file}.svg`, "image/svg+xml", svgText(drawing.current))}
        >
          SVG
        </button>
      </figcaption>
      <svg ref={drawing} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`${title} over ${across}: ${last}`}>
        {ticks(...ys).map((value) => (
          <g key={value}>
            <line className="grid" x1={LEFT} x2={WIDTH - RIGHT} y1={y(value)} y2={y(value)} />
            <text x={LEFT - 6} y={y(value) + 4} textAnchor="end">
              {activation(value)}
            </text>
          </g>
        ))}
        {ticks(xs[0], xs[1], 6).filter(whole).map((value) => (
          <text key={value} x={x(value)} y={HEIGHT - FOOT + 16} textAnchor="middle">
            {value}
          </text>
        ))}
        <text x={(LEFT + WIDTH - RIGHT) / 2} y={HEIGHT - 3} textAnchor="middle">
          {across}
        </text>
        {series.map((each, i) => (
          <g key={each.name} className={`series s${i % 6}`}>
            <polyline points={each.points.map(([px, py]) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`).join(" ")} />
            {each.points.map(([px, py], at) => (
              <circle key={at} cx={x(px)} cy={y(py)} r="3">
                <title>
                  {each.name}, {across} {px}: {activation(py)}
                </title>
              </circle>
            ))}
          </g>
        ))}
      </svg>
      {series.length > 1 && (
        <ul className="key small">
          {series.map((each, i) => (
            <li key={each.name}>
              <svg className={`series s${i % 6}`} viewBox="0 0 26 8" width="26" height="8" aria-hidden="true">
                <line x1="0" x2="26" y1="4" y2="4" />
              </svg>
              {each.name}
            </li>
          ))}
        </ul>
      )}
    </figure>
  );
}
