import type { KeyboardEvent, RefObject } from "react";
import { Link } from "react-router";
import type { SearchHit, Snapshot } from "../api/client";
import { figure, signMark } from "../format";
import { useMay } from "../session";
import { useAnalysis } from "./analysis";
import { componentPath } from "./links";
import { Thumb } from "./Thumb";

interface Props {
  snapshot: Snapshot;
  at: string;
  hits: SearchHit[];
  list: RefObject<HTMLOListElement | null>;
}

/** Result cards. Arrow keys move among them, Enter opens: each card is a link. */
export function Results({ snapshot, at, hits, list }: Props) {
  const signed = new Set(snapshot.layers.filter((layer) => layer.signed).map((layer) => layer.name));
  const { pin } = useAnalysis();
  const may = useMay("annotate");
  const onKey = (event: KeyboardEvent<HTMLOListElement>) => {
    if (event.key === "p" && may && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const cards = [...event.currentTarget.querySelectorAll("a.card")];
      const hit = hits[cards.indexOf(event.target as Element)];
      if (hit) void pin(snapshot, hit.component);
    } else moveFocus(event);
  };
  return (
    <ol className="cards" ref={list} onKeyDown={onKey} aria-label="Components found, best first">
      {hits.map((hit) => (
        <li key={`${hit.component.layer}:${hit.component.index}:${hit.component.sign}`}>
          <Card hit={hit} dataset={snapshot.dataset.id} at={at} signed={signed.has(hit.component.layer)} />
        </li>
      ))}
    </ol>
  );
}

function Card({ hit, dataset, at, signed }: { hit: SearchHit; dataset: string; at: string; signed: boolean }) {
  const { layer, index, sign } = hit.component;
  return (
    <Link
      className="card"
      to={componentPath(at, hit.component)}
      state={{ results: window.location.search }}
      aria-label={`${layer}, component ${index}${signed ? `, sign ${sign < 0 ? "minus" : "plus"}` : ""}, score ${figure(hit.score)}`}
    >
      <span className="cardhead">
        <span className="layer">{layer}</span>
        <span className="index num">{index}</span>
        {signed && <span className="sign" title="activations of this sign">{signMark(sign)}</span>}
      </span>
      <span className="thumbs">
        {hit.examples.map((example) => (
          <Thumb key={example.sample} dataset={dataset} example={example} />
        ))}
      </span>
      <span className="scores num">
        <span title="Cosine between the query and what this component responds to">
          score <b>{figure(hit.score)}</b>
        </span>
        <span
          title={
            hit.z === null
              ? "No null could be formed for this query"
              : "How far the score lies above what unrelated prompts reach, in robust standard deviations"
          }
        >
          z <b>{figure(hit.z, 1)}</b>
        </span>
        <span title="How alike its examples are: 1 is one clear concept">
          clarity <b>{figure(hit.clarity)}</b>
        </span>
      </span>
    </Link>
  );
}

function moveFocus(event: KeyboardEvent<HTMLOListElement>): void {
  const cards = [...event.currentTarget.querySelectorAll<HTMLAnchorElement>("a.card")];
  const here = cards.indexOf(document.activeElement as HTMLAnchorElement);
  if (here < 0) return;
  const top = cards[0]?.getBoundingClientRect().top;
  const columns = Math.max(1, cards.filter((card) => card.getBoundingClientRect().top === top).length);
  const steps: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  const step = steps[event.key];
  const target =
    event.key === "Home" ? cards[0] : event.key === "End" ? cards.at(-1) : step === undefined ? undefined : cards[here + step];
  if (step === undefined && target === undefined) return;
  event.preventDefault();
  target?.focus();
}
