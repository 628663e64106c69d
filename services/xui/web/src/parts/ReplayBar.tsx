import type { Replay } from "../api/client";
import { plural } from "../format";
import { Bar } from "./Bar";
import { type Replaying, summed } from "./replays";
import { Refusal } from "./states";

/** Whether what was recorded comes out again; for those who may read the audit log. */
export function ReplayBar({ replaying, events }: { replaying: Replaying; events: number }) {
  const { told, progress, busy, problem, begin, stop } = replaying;
  const { same, differs, refused } = summed(told);
  return (
    <div className="replaybar">
      <p className="actions">
        <button type="button" className="button small" disabled={busy || events === 0} onClick={begin}>
          Replay
        </button>
        {busy && (
          <button type="button" className="button small quiet" onClick={stop}>
            Stop
          </button>
        )}
        <span className="small" role="status">
          {progress === null
            ? "Computes every recorded answer again and compares."
            : `${plural(same, "answer")} as recorded, ${differs} ${differs === 1 ? "differs" : "differ"}, ${refused} refused`}
        </span>
      </p>
      {progress !== null && <Bar share={progress[1] === 0 ? 1 : progress[0] / progress[1]} label={`${progress[0]} of ${progress[1]} events replayed`} state={busy ? "running" : differs + refused > 0 ? "failed" : "done"} />}
      {problem !== null && <Refusal problem={problem} />}
    </div>
  );
}

const WORDS = { same: "as recorded", differs: "differs", refused: "refused", nothing: "" } as const;
const STATES = { same: "done", differs: "failed", refused: "failed", nothing: "" } as const;

/** What came out of one event. */
export function Replayed({ replay }: { replay: Replay }) {
  if (replay.verdict === "nothing") return null;
  const why = [...(replay.differences ?? []), replay.detail].filter(Boolean);
  return (
    <>
      <span className={`badge ${STATES[replay.verdict]}`} title={replay.checked.join(", ")}>
        {WORDS[replay.verdict]}
      </span>
      {why.length > 0 && <span className="small block">{why.join("; ")}</span>}
    </>
  );
}
