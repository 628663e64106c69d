import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api, ask, type Plays } from "../api/client";
import { activation, plural, words } from "../format";
import type { OnBench } from "./PictureBench";
import { Refusal } from "./states";

interface Props {
  model: OnBench["model"];
  source: OnBench["source"];
  target: number | null;
}

const PLAYS = 64;
const SIZE = 224;

/** Some plays of the game behind a map: random walks from the score to the picture. */
export function PlaysPanel({ model, source, target }: Props) {
  const [seed, setSeed] = useState(0);
  const rule = model.layers.some((layer) => layer.kind === "map") ? "magnitude" : "cp_plus_abs";
  const played = useMutation({
    mutationFn: (seed: number) =>
      ask(api.POST("/v1/models/{model}/plays", { params: { path: { model: model.ref.id } }, body: { ...source, target, rule, plays: PLAYS, biases: false, seed } })),
  });
  return (
    <div className="spaced">
      <button
        type="button"
        className="button"
        disabled={played.isPending}
        onClick={() => {
          played.mutate(seed);
          setSeed(seed + 1);
        }}
      >
        {played.isPending ? "Playing …" : played.data ? "Play again" : "Walk from the score to the picture"}
      </button>
      {played.isError && <Refusal problem={played.error} />}
      {played.data && <Walks found={played.data} />}
    </div>
  );
}

function Walks({ found }: { found: Plays }) {
  const arrived = found.plays.filter((play) => play.ended === "picture");
  const against = arrived.filter((play) => play.weight < 0).length;
  const told = `${plural(found.plays.length, "play")} by ${words(found.rule)}: ${arrived.length} reach the picture, ${arrived.length - against} for and ${against} against; ${found.plays.length - arrived.length} are absorbed on the way`;
  return (
    <figure className="plays">
      <svg viewBox={`0 0 ${SIZE} ${SIZE}`} role="img" aria-label={told}>
        <image href={`data:image/png;base64,${found.picture}`} width={SIZE} height={SIZE} />
        {found.plays.map((play, number) => {
          const points = placesOf(play);
          const last = points.at(-1);
          const side = play.weight < 0 ? "against" : "for";
          if (!last) return null;
          return (
            <g key={number} className={`walk ${side} ${play.ended}`}>
              <title>
                {play.ended === "picture" ? `arrives with weight ${activation(play.weight)}` : "is absorbed"}, through {play.steps.map((step) => (step.component === null ? step.function : `${step.function} ${step.component}`)).join(" → ")}
              </title>
              <polyline points={points.map(([x, y]) => `${x},${y}`).join(" ")} />
              {play.ended === "picture" && <circle cx={last[0]} cy={last[1]} r="2.5" />}
            </g>
          );
        })}
      </svg>
      <figcaption className="muted small">
        {told}. A play goes from an output to what it was computed from, with a probability that follows the contributions; a map of relevance is the mean over
        all plays. Here biases end none; contributions of both signs that cancel still do. Lines follow the places of the layers, coarse ones first; dashed where a play is absorbed.
      </figcaption>
    </figure>
  );
}

/** Places along a play, in the picture's pixels; where it stays, once. */
function placesOf(play: Plays["plays"][number]): [number, number][] {
  const places: [number, number][] = [];
  for (const { x, y } of play.steps) {
    if (x === null || y === null) continue;
    const [across, down] = [Number((x * SIZE).toFixed(1)), Number((y * SIZE).toFixed(1))];
    const before = places.at(-1);
    if (before?.[0] !== across || before[1] !== down) places.push([across, down]);
  }
  return places;
}
