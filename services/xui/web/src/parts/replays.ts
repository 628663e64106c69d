import { useCallback, useEffect, useRef, useState } from "react";
import { api, ask, type Replay } from "../api/client";

export interface Replaying {
  told: ReadonlyMap<number, Replay>;
  /** Events asked so far, of how many; null before the first. */
  progress: [number, number] | null;
  busy: boolean;
  problem: unknown;
  begin: () => void;
  stop: () => void;
}

/** Has every event of a session computed again, one after the other. */
export function useReplaying(session: string, last: number): Replaying {
  const [told, setTold] = useState<ReadonlyMap<number, Replay>>(new Map());
  const [progress, setProgress] = useState<[number, number] | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const run = useRef<AbortController | null>(null);
  const stop = useCallback(() => run.current?.abort(), []);
  useEffect(() => stop, [session, stop]);
  const begin = useCallback(async () => {
    stop();
    const mine = new AbortController();
    run.current = mine;
    setTold(new Map());
    setProblem(null);
    setBusy(true);
    setProgress([0, last]);
    try {
      for (let seq = 1; seq <= last; seq++) {
        const answer = await ask(api.POST("/v1/sessions/{session}/history/{seq}/replay", { params: { path: { session, seq } }, signal: mine.signal }));
        setTold((before) => new Map(before).set(seq, answer));
        setProgress([seq, last]);
      }
    } catch (failed) {
      if (!mine.signal.aborted) setProblem(failed);
    } finally {
      if (run.current === mine) setBusy(false);
    }
  }, [session, last, stop]);
  return { told, progress, busy, problem, begin: () => void begin(), stop };
}

/** How many came out as recorded, and how many did not. */
export function summed(told: ReadonlyMap<number, Replay>): Record<Replay["verdict"], number> {
  const counts = { same: 0, differs: 0, refused: 0, nothing: 0 };
  for (const { verdict } of told.values()) counts[verdict]++;
  return counts;
}
