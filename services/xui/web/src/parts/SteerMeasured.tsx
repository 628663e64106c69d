import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { api, ask, type MeasuredSteering } from "../api/client";
import { figure, words } from "../format";
import type { Concept } from "./SteerConcept";

/** Arms that steer along a direction of somebody's choice; random ones and the prompt tell nothing about its strength. */
const CHOSEN = ["difference", "native", "write", "cov", "read"];

/** What evaluations of a model found for additions to one layer, newest first; of a concept, those of its own way. */
export function useAdvice(model: string, layer: string, concept: Concept | null) {
  const query = useQuery({
    queryKey: ["/v1/models/steering-evaluations", model],
    queryFn: ({ signal }) => ask(api.GET("/v1/models/{model}/steering-evaluations", { params: { path: { model }, query: { limit: 50 } }, signal })),
  });
  const way = concept && (concept.of.startsWith("atlas:") ? "native" : "write");
  const measured: MeasuredSteering[] = query.data?.items ?? [];
  const found = measured.flatMap(({ job, concepts, arms }) =>
    arms.filter((arm) => arm.layer === layer && (way ? arm.arm === way : CHOSEN.includes(arm.arm))).map((arm) => ({ job, concepts, arm })),
  );
  return { query, found, window: found.find(({ arm }) => arm.window)?.arm.window ?? null };
}

/** How strongly a layer can be steered while its texts stay fluent, as it was measured. */
export function SteerMeasured({ advice: { query, found }, take }: { advice: ReturnType<typeof useAdvice>; take: (strength: number) => void }) {
  if (query.isPending || query.isError) return null;
  if (found.length === 0)
    return (
      <p className="small muted">
        No strength is recommended: steering here was not evaluated. <code>xsys steering evaluate</code> does it, and marks the strengths that work.
      </p>
    );
  return (
    <>
      <p className="small">What evaluations found in this layer:</p>
      <ul className="small measured" aria-label="Measured strengths">
      {found.slice(0, 4).map(({ job, concepts, arm }) => (
        <li key={`${job} ${arm.arm}`}>
          <Link to={`/jobs/${job}`}>{words(arm.arm)}</Link> <span className="muted">({concepts.join(", ")})</span>:{" "}
          {arm.window ? (
            <span className="num">
              {[...new Set([arm.window.low, arm.window.high])].map((each) => figure(each, 2)).join(" to ")}
            </span>
          ) : (
            arm.no_window?.detail
          )}
          {arm.window && <Use strength={usable(arm.window, arm.held_out?.strength)} take={take} />}
        </li>
      ))}
      </ul>
    </>
  );
}

function Use({ strength, take }: { strength: number; take: (strength: number) => void }) {
  return (
    <button type="button" className="button small" onClick={() => take(strength)}>
      Use {figure(strength, 2)}
    </button>
  );
}

/** The strength that did best on other prompts if it is in the window, else the one that disturbs least. */
const usable = ({ low, high }: { low: number; high: number }, chosen: number | null | undefined): number => (chosen != null && low <= chosen && chosen <= high ? chosen : low);
