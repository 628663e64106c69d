import type { Job } from "../api/client";

export function Bar({ share, label, state }: { share: number; label: string; state: Job["state"] }) {
  const whole = Math.round(Math.max(0, Math.min(1, share)) * 100);
  return (
    <span className={`bar-track ${state}`} role="progressbar" aria-label={label} aria-valuenow={whole} aria-valuemin={0} aria-valuemax={100}>
      <span style={{ width: `${whole}%` }} />
    </span>
  );
}

export function StateBadge({ state }: { state: Job["state"] }) {
  return <span className={`badge ${state}`}>{state}</span>;
}
