import { figure } from "../format";

interface Props {
  value: number | null | undefined;
  low: number | null | undefined;
  high: number | null | undefined;
  against?: number | null;
}

const place = (value: number): number => ((Math.max(-1, Math.min(1, value)) + 1) / 2) * 100;

/** A correlation from −1 to 1 with its interval; the thin mark is what random labels reach. */
export function IntervalBar({ value, low, high, against }: Props) {
  if (value == null || low == null || high == null) return <span className="muted">–</span>;
  const told = `${figure(value)} (${figure(low)} to ${figure(high)})`;
  return (
    <span className="intervalcell">
      <svg className="interval" viewBox="0 0 100 16" preserveAspectRatio="none" aria-hidden="true">
        <line className="zero" x1="50" x2="50" y1="0" y2="16" />
        <line className="range" x1={place(low)} x2={place(high)} y1="8" y2="8" />
        <rect className="value" x={place(value) - 1.5} y="3" width="3" height="10" />
        {against != null && <line className="against" x1={place(against)} x2={place(against)} y1="2" y2="14" />}
      </svg>
      <span className="num small">{told}</span>
    </span>
  );
}
