import { useCallback, useEffect, useRef, useState } from "react";
import { api, ask, type GenerationRequest, type GenerationState } from "../api/client";

interface Written {
  state: GenerationState | null;
  problem: unknown;
  busy: boolean;
  write: (model: string, body: GenerationRequest) => void;
  stop: () => void;
}

/** A text that is read while it is written: each request answers once there is more than was seen. */
export function useWriting(): Written {
  const [state, setState] = useState<GenerationState | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const running = useRef<AbortController | null>(null);
  const stop = useCallback(() => running.current?.abort(), []);
  useEffect(() => stop, [stop]);
  const write = useCallback((model: string, body: GenerationRequest) => {
    running.current?.abort();
    const control = new AbortController();
    running.current = control;
    setState(null);
    setProblem(null);
    setBusy(true);
    follow(model, body, control.signal, setState)
      .catch((thrown: unknown) => control.signal.aborted || setProblem(thrown))
      .finally(() => running.current === control && setBusy(false));
  }, []);
  return { state, problem, busy, write, stop };
}

async function follow(model: string, body: GenerationRequest, signal: AbortSignal, show: (state: GenerationState) => void): Promise<void> {
  let now = await ask(api.POST("/v1/models/{model}/generations/open", { params: { path: { model } }, body, signal }));
  const path = { generation: now.id };
  const close = () => void api.DELETE("/v1/generations/{generation}", { params: { path } }).catch(() => undefined);
  signal.addEventListener("abort", close, { once: true }); // or it would be written to its end for nobody
  show(now);
  while (!now.ended && !signal.aborted) {
    now = await ask(api.GET("/v1/generations/{generation}", { params: { path, query: { after: now.version } }, signal }));
    show(now);
  }
  signal.removeEventListener("abort", close);
}
