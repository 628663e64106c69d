export interface Series {
  name: string;
  points: (readonly [number, number])[];
}

/** Round steps that cover a range: 1, 2 or 5 times a power of ten, about `wanted` of them. */
export function ticks(low: number, high: number, wanted = 4): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** The smallest and largest of both axes; an even line gets room around it. */
export function extent(series: Series[]): { x: [number, number]; y: [number, number] } {
  const all = series.flatMap((each) => each.points);
  const span = (values: number[]): [number, number] => {
    const low = Math.min(...values);
    const high = Math.max(...values);
    return low === high ? [low - Math.max(Math.abs(low) * 0.1, 0.05), high + Math.max(Math.abs(high) * 0.1, 0.05)] : [low, high];
  };
  if (all.length === 0) return { x: [0, 1], y: [0, 1] };
  return { x: span(all.map(([x]) => x)), y: span(all.map(([, y]) => y)) };
}
