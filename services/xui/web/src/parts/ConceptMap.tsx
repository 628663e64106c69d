import type { Concept, ConceptMatch } from "../api/client";
import { percent } from "../format";

interface Props {
  side: "ours" | "theirs";
  title: string;
  concepts: Concept[];
  matches: ConceptMatch[];
  chosen: ConceptMatch | null;
  choose: (match: ConceptMatch) => void;
}

const SIDE = 400;
const EDGE = 18;

/** The concepts of one layer on the plane of its representation; those outside the filter stay grey. */
export function ConceptMap({ side, title, concepts, matches, chosen, choose }: Props) {
  const xs = concepts.map((each) => each.x);
  const ys = concepts.map((each) => each.y);
  const scale = (value: number, all: number[]) => {
    const low = Math.min(...all);
    const span = Math.max(...all) - low || 1;
    return EDGE + ((value - low) / span) * (SIDE - 2 * EDGE);
  };
  return (
    <figure className="panel">
      <figcaption>
        <h3 className="mono">{title}</h3>
      </figcaption>
      <svg className="conceptmap" viewBox={`0 0 ${SIDE} ${SIDE}`} role="img" aria-label={`Map of ${concepts.length} concepts of ${title}`}>
        {concepts.map((each) => {
          const match = matches.find((one) => one[side] === each.index);
          const marked = chosen !== null && chosen[side] === each.index;
          return (
            <circle
              key={each.index}
              cx={scale(each.x, xs)}
              cy={SIDE - scale(each.y, ys)}
              r={3 + Math.sqrt(each.prevalence) * 26}
              className={`${match ? match.relation : "grey"}${marked ? " marked" : ""}`}
              onClick={() => match && choose(match)}
            >
              <title>
                concept {each.index}
                {each.label ? `: ${each.label} ${percent(each.label_share)}` : ""}, {percent(each.prevalence)} of the points
              </title>
            </circle>
          );
        })}
      </svg>
    </figure>
  );
}
