import { count, percent } from "../format";
import { TIERS, tierOf } from "./atlases";

/** How many latents have which trust, as one bar; the numbers stand below it. */
export function TierBar({ tiers }: { tiers: Record<string, number> }) {
  const known = [...Object.keys(TIERS).filter((name) => name in tiers), ...Object.keys(tiers).filter((name) => !(name in TIERS))];
  const total = known.reduce((sum, name) => sum + (tiers[name] ?? 0), 0) || 1;
  return (
    <>
      <span className="tierbar" aria-hidden="true">
        {known.map((name) => (
          <span key={name} className={`tier ${name}`} style={{ width: `${(100 * (tiers[name] ?? 0)) / total}%` }} />
        ))}
      </span>
      <ul className="tiers small" aria-label="Latents by trust">
        {known.map((name) => (
          <li key={name} title={tierOf(name).told}>
            <span className={`swatch tier ${name}`} aria-hidden="true" /> {tierOf(name).name} <span className="num">{count(tiers[name])}</span>{" "}
            <span className="muted">({percent((tiers[name] ?? 0) / total)})</span>
          </li>
        ))}
      </ul>
    </>
  );
}

export function Tier({ name }: { name: string }) {
  return (
    <span className="tiername" title={tierOf(name).told}>
      <span className={`swatch tier ${name}`} aria-hidden="true" /> {tierOf(name).name}
    </span>
  );
}
