import { startTransition, useCallback, useMemo, useOptimistic } from "react";
import { createSearchParams, type NavigateOptions, type URLSearchParamsInit, useLocation, useNavigate } from "react-router";

type Change = URLSearchParamsInit | ((now: URLSearchParams) => URLSearchParamsInit);

/**
 * The address's query and a way to change it.
 *
 * Unlike the router's own hook, a change starts from what the address says at that moment, so that of two changes in
 * one breath neither is lost, and is shown at once: the router renders later, and a box ticked would lose its tick
 * until then.
 */
export function useAddress(): [URLSearchParams, (change: Change, options?: NavigateOptions) => void] {
  const [text, show] = useOptimistic(useLocation().search);
  const navigate = useNavigate();
  const set = useCallback(
    (change: Change, options?: NavigateOptions) => {
      const next = createSearchParams(typeof change === "function" ? change(new URLSearchParams(window.location.search)) : change);
      const search = next.size > 0 ? `?${next}` : "";
      startTransition(() => {
        show(search);
        void navigate({ search }, options);
      });
    },
    [navigate, show],
  );
  return [useMemo(() => new URLSearchParams(text), [text]), set];
}
