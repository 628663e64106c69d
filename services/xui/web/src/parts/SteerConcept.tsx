import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, ask, type Model, type SteeringDirection } from "../api/client";
import { figure } from "../format";
import { Pick } from "./fields";
import { Loading, Refusal } from "./states";

/** A concept of an atlas that was carried to a model, or of its own atlas; `of` is `alignment:ID` or `atlas:ID`. */
export interface Concept {
  of: string;
  text: string;
}

const LATENTS = 5;

/** The direction of a concept in a layer of the model, from the latents that a text chooses. */
export function useDirection(concept: Concept | null) {
  const [kind, id = ""] = concept?.of.split(":", 2) ?? [];
  return useQuery({
    queryKey: ["direction", concept],
    queryFn: ({ signal }): Promise<SteeringDirection> => {
      const body = { text: concept?.text ?? "", m: LATENTS };
      return kind === "atlas"
        ? ask(api.POST("/v1/atlases/{atlas}/direction", { params: { path: { atlas: id } }, body: { ...body, map: "native" }, signal }))
        : ask(api.POST("/v1/alignments/{alignment}/direction", { params: { path: { alignment: id } }, body: { ...body, map: "write" }, signal }));
    },
    enabled: concept !== null,
    staleTime: Infinity,
  });
}

/** What can name directions of a model: atlases of its own, and alignments that carried one over. */
function useNamers(model: Model) {
  const query = { limit: 100 };
  const atlases = useQuery({ queryKey: ["/v1/atlases", "all"], queryFn: ({ signal }) => ask(api.GET("/v1/atlases", { params: { query }, signal })) });
  const alignments = useQuery({ queryKey: ["/v1/alignments", "all"], queryFn: ({ signal }) => ask(api.GET("/v1/alignments", { params: { query }, signal })) });
  const own = (each: { model: string }) => [model.ref.id, model.ref.name].includes(each.model);
  return new Map<string, string>([
    ...(alignments.data?.items.filter(own).map((each) => [`alignment:${each.id}`, `${each.name} (carried)`] as const) ?? []),
    ...(atlases.data?.items.filter(own).map((each) => [`atlas:${each.id}`, each.name] as const) ?? []),
  ]);
}

interface Props {
  model: Model;
  concept: Concept | null;
  found: ReturnType<typeof useDirection>;
  choose: (concept: Concept | null) => void;
}

/** Steer by the meaning of an atlas's latents. */
export function SteerConcept({ model, concept, found, choose }: Props) {
  const namers = useNamers(model);
  const [of, setOf] = useState(concept?.of ?? "");
  const [text, setText] = useState(concept?.text ?? "");
  if (namers.size === 0) return null;
  const chosen = namers.has(of) ? of : [...namers.keys()][0]!;
  return (
    <section className="panel" aria-labelledby="concept-title" aria-busy={found.isFetching}>
      <h2 id="concept-title">By concept</h2>
      <form
        className="stacked"
        onSubmit={(event) => {
          event.preventDefault();
          choose({ of: chosen, text: text.trim() });
        }}
      >
        <Pick label="Atlas" value={chosen} among={[...namers.keys()]} show={(key) => namers.get(key) ?? key} change={setOf} />
        <label>
          Concept
          <input required type="text" maxLength={200} value={text} onChange={(event) => setText(event.target.value)} />
        </label>
        <span className="pickrow">
          <button type="submit" className="button" disabled={text.trim() === ""}>
            Take its direction
          </button>
          {concept && (
            <button type="button" className="button" onClick={() => choose(null)}>
              Leave it
            </button>
          )}
        </span>
      </form>
      {concept && found.isPending && <Loading what="the direction" />}
      {concept && found.isError && <Refusal problem={found.error} />}
      {concept && found.data && (
        <>
          <p className="small">
            A direction in <span className="mono">{found.data.layer}</span>, of these latents:
          </p>
          <ul className="small" aria-label="Latents of the direction">
            {found.data.latents.map((each) => (
              <li key={each.latent}>
                {each.text} <span className="muted num">{figure(each.weight)}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}
