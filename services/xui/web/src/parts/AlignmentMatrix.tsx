import type { Comparison } from "../api/client";
import { figure } from "../format";

interface Props {
  comparison: Comparison;
  ours: number | null;
  theirs: number | null;
  choose: (ours: number, theirs: number) => void;
}

/** The chance-corrected alignment of every two layers; those that were matched concept by concept open. */
export function AlignmentMatrix({ comparison, ours, theirs, choose }: Props) {
  const places = comparison.representations;
  const of = (a: number, b: number) => comparison.alignments.find((each) => each.ours === Math.min(a, b) && each.theirs === Math.max(a, b));
  const matched = (a: number, b: number) => comparison.matched.some(([x, y]) => x === Math.min(a, b) && y === Math.max(a, b));
  return (
    <section className="panel" aria-labelledby="matrix-title">
      <h2 id="matrix-title">How far layers agree</h2>
      <div className="scroll">
        <table className="matrix">
          <caption className="hidden">Alignment corrected for chance (ACI): 0 is chance, 1 identical</caption>
          <thead>
            <tr>
              <td />
              {places.map((each) => (
                <th key={each.place} scope="col" title={each.layer}>
                  {each.place}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {places.map((row) => (
              <tr key={row.place}>
                <th scope="row" className="mono" title={row.layer}>
                  {row.place} {row.layer}
                </th>
                {places.map((column) => {
                  const value = row.place === column.place ? 1 : of(row.place, column.place)?.aci;
                  const shade = { "--share": `${Math.round(Math.max(0, Math.min(1, value ?? 0)) * 70)}%` } as React.CSSProperties;
                  const open = matched(row.place, column.place);
                  const chosen = row.place < column.place ? ours === row.place && theirs === column.place : ours === column.place && theirs === row.place;
                  return (
                    <td key={column.place}>
                      {open ? (
                        <button
                          type="button"
                          className="cell"
                          style={shade}
                          aria-pressed={chosen}
                          aria-label={`${row.layer} and ${column.layer}: ${figure(value)}`}
                          onClick={() => choose(Math.min(row.place, column.place), Math.max(row.place, column.place))}
                        >
                          {figure(value)}
                        </button>
                      ) : (
                        <span className={row.place === column.place ? "cell same" : "cell"} style={shade}>
                          {row.place === column.place ? "" : figure(value)}
                        </span>
                      )}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p className="muted small">ACI, corrected for chance: 0 is chance, 1 identical. Framed cells open concept by concept.</p>
    </section>
  );
}
