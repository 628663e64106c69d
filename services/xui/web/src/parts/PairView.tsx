import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { api, ask, type Comparison, type Concept, type ConceptMatch, type PairReport, thumbnail } from "../api/client";
import { figure, percent } from "../format";
import { ConceptMap } from "./ConceptMap";
import { useAddress } from "./address";
import { Loading, Refusal } from "./states";

export const RELATIONS = ["universal", "shared", "weak", "unique", "undecided"] as const;
const WHY: Record<(typeof RELATIONS)[number], string> = {
  universal: "the same region in both, but for details",
  shared: "largely the same points",
  weak: "more in common than by chance, yet not much",
  unique: "nothing alike on the other side",
  undecided: "too little evidence to tell",
};

/** Two layers, concept by concept: linked maps, and the table of matches with examples. */
export function PairView({ comparison, ours, theirs }: { comparison: Comparison; ours: number; theirs: number }) {
  const pair = useQuery({
    queryKey: ["pair", comparison.id, ours, theirs],
    queryFn: ({ signal }) =>
      ask(
        api.GET("/v1/comparisons/{comparison}/pairs/{ours}/{theirs}", {
          params: { path: { comparison: comparison.id, ours, theirs } },
          signal,
        }),
      ),
    staleTime: Infinity,
  });
  if (pair.isPending) return <Loading what="matches" />;
  if (pair.isError) return <Refusal problem={pair.error} retry={() => void pair.refetch()} />;
  return <Pair pair={pair.data} dataset={comparison.dataset.id} />;
}

const keyOf = (match: ConceptMatch): string => `${match.ours ?? ""}-${match.theirs ?? ""}`;

function Pair({ pair, dataset }: { pair: PairReport; dataset: string }) {
  const [search, setSearch] = useAddress();
  const chosen = search.get("match");
  const only = search.get("relation");
  const set = (name: string, value: string | null) =>
    setSearch(
      (now) => {
        if (value === null) now.delete(name);
        else now.set(name, value);
        return now;
      },
      { replace: true },
    );
  const match = pair.matches.find((each) => keyOf(each) === chosen);
  const shown = only === null ? pair.matches : pair.matches.filter((each) => each.relation === only);
  const { ours, theirs, alignment } = pair;
  return (
    <>
      <section className="spaced" aria-labelledby="pair-title">
        <h2 id="pair-title">
          <span className="mono">{ours.layer}</span> and <span className="mono">{theirs.layer}</span>
        </h2>
        <p>
          Alignment <b className="num">{figure(alignment.aci)}</b> ({figure(alignment.low)} to {figure(alignment.high)}),{" "}
          <b className="num">{percent(alignment.relative)}</b> of what the layers' own stability allows. Unbiased CKA{" "}
          {figure(alignment.cka_unbiased)}, mutual neighbours {figure(alignment.mutual_knn)}.
        </p>
        <div className="relations" role="group" aria-label="Show matches that are">
          <button type="button" className="button small" aria-pressed={only === null} onClick={() => set("relation", null)}>
            all {pair.matches.length}
          </button>
          {RELATIONS.filter((name) => (pair.counts[name] ?? 0) > 0).map((name) => (
            <button key={name} type="button" className="button small" title={WHY[name]} aria-pressed={only === name} onClick={() => set("relation", only === name ? null : name)}>
              <span className={`dot ${name}`} aria-hidden="true" /> {name} {pair.counts[name]}
            </button>
          ))}
        </div>
      </section>
      <div className="maps spaced">
        <ConceptMap side="ours" title={ours.layer} concepts={pair.our_concepts} matches={shown} chosen={match ?? null} choose={(each) => set("match", keyOf(each))} />
        <ConceptMap side="theirs" title={theirs.layer} concepts={pair.their_concepts} matches={shown} chosen={match ?? null} choose={(each) => set("match", keyOf(each))} />
      </div>
      <p className="muted small">Each dot is a concept, as large as its share of the points. Choosing one marks its partner on the other map.</p>
      <Matches pair={pair} matches={shown} dataset={dataset} chosen={chosen} choose={(each) => set("match", keyOf(each) === chosen ? null : keyOf(each))} />
    </>
  );
}

interface MatchesProps {
  pair: PairReport;
  matches: ConceptMatch[];
  dataset: string;
  chosen: string | null;
  choose: (match: ConceptMatch) => void;
}

function Matches({ pair, matches, dataset, chosen, choose }: MatchesProps) {
  const ours = useMemo(() => new Map(pair.our_concepts.map((each) => [each.index, each])), [pair]);
  const theirs = useMemo(() => new Map(pair.their_concepts.map((each) => [each.index, each])), [pair]);
  return (
    <div className="table-wrap spaced">
      <table className="matches">
        <caption className="hidden">Matched concepts, best first</caption>
        <thead>
          <tr>
            <th scope="col">Relation</th>
            <th scope="col">{pair.ours.layer}</th>
            <th scope="col">{pair.theirs.layer}</th>
            <th scope="col" className="right" title="Agreement beyond chance of the two concepts' points">
              κ
            </th>
            <th scope="col" className="right" title="False-discovery rate over all matched pairs">
              q
            </th>
          </tr>
        </thead>
        <tbody>
          {matches.map((match) => (
            <tr key={keyOf(match)} className={keyOf(match) === chosen ? "chosen" : undefined}>
              <td>
                <button type="button" className="button quiet small" aria-pressed={keyOf(match) === chosen} title={WHY[match.relation]} onClick={() => choose(match)}>
                  <span className={`dot ${match.relation}`} aria-hidden="true" /> {match.relation}
                </button>
                {match.divided && <span className="badge">divided</span>}
              </td>
              <td>
                <ConceptCell concept={ours.get(match.ours ?? -1)} dataset={dataset} />
              </td>
              <td>
                <ConceptCell concept={theirs.get(match.theirs ?? -1)} dataset={dataset} />
              </td>
              <td className="right">{figure(match.kappa)}</td>
              <td className="right">{figure(match.q, 3)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const PICTURES = 5;

/** A concept by its commonest label and the places in pictures that belong to it most. */
function ConceptCell({ concept, dataset }: { concept: Concept | undefined; dataset: string }) {
  if (!concept) return <span className="muted">no partner</span>;
  return (
    <span className="concept">
      <span className="small">
        <b>{concept.index}</b> {concept.label && `${concept.label} ${percent(concept.label_share)}`}
      </span>
      <span className="spots">
        {concept.examples.slice(0, PICTURES).map((example, i) => (
          <span key={i} className="spot" title={`${example.label ?? ""} sample ${example.sample}`}>
            <img src={thumbnail(dataset, example.sample)} alt={`${example.label ?? "sample"} ${example.sample}`} loading="lazy" />
            <span className="here" style={{ left: `${example.column * 100}%`, top: `${example.row * 100}%` }} />
          </span>
        ))}
      </span>
    </span>
  );
}
