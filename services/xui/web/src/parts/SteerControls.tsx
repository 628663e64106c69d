import { useMutation, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link } from "react-router";
import { api, ask, type Snapshot } from "../api/client";
import { figure, percent } from "../format";
import { Pick as Choose } from "./fields";
import { componentPath } from "./links";
import type { OnBench } from "./PictureBench";
import { Refusal } from "./states";
import { CHANGES, HOW, type Medium, MOST_UNITS, reachOf, type Steering } from "./steer";

interface Props extends OnBench {
  shown: Steering;
  layer: string;
  change: (part: Partial<Steering>) => void;
}

/** What is changed, where and how strongly. */
export function SteerControls({ shown, layer, change, model, snapshot, source }: Props) {
  return (
    <>
      <section className="panel stacked" aria-labelledby="change-title">
        <h2 id="change-title">Change</h2>
        <Choose label="Layer" value={layer} among={model.layers.map((each) => each.name)} change={(chosen) => change({ layers: [chosen], units: [] })} />
        <Units {...{ shown, layer, change, snapshot }} />
        <HowMuch shown={shown} change={change} />
        <label className="tick">
          <input type="checkbox" checked={shown.maps} onChange={(event) => change({ maps: event.target.checked })} /> Heat maps before and after
        </label>
      </section>
      <Behind {...{ shown, layer, change, model, source }} />
      {snapshot?.layers.some((each) => each.name === layer) && <ByText snapshot={snapshot.id} {...{ shown, layer, change }} />}
    </>
  );
}

type Change = Pick<Steering, "units" | "how" | "strength">;

interface Changing {
  shown: Change;
  change: (part: Partial<Change>) => void;
}

interface Amount extends Changing {
  medium?: Medium;
  /** Strengths that were measured to work, shown along the slider. */
  window?: Window | null;
}

interface Window {
  low: number;
  high: number;
}

/** What happens to what was chosen, and how much of it. */
export function HowMuch({ shown, change, medium = "picture", window = null }: Amount) {
  const { name, unit } = HOW[shown.how];
  return (
    <>
      <Choose label="What happens to them" value={shown.how} among={CHANGES} show={(each) => HOW[each].name} change={(how) => change({ how, strength: reachOf(how, medium).usual })} />
      <Strength how={shown.how} medium={medium} window={window} value={shown.strength} change={(strength) => change({ strength })} />
      <p className="small muted">
        {name}: <span className="num">{figure(shown.strength)}</span> {unit}
      </p>
    </>
  );
}

const toggled = (units: number[], unit: number) => (units.includes(unit) ? units.filter((each) => each !== unit) : [...units, unit]);

/** Components by their numbers. */
export function Units({ shown, layer, change, snapshot }: Changing & { layer: string; snapshot: Snapshot | undefined }) {
  const [text, setText] = useState("");
  const number = /^\d{1,9}$/.test(text.trim()) ? Number(text) : null;
  const paged = snapshot?.layers.some((each) => each.name === layer) ? snapshot : undefined;
  return (
    <form
      className="otheroutput"
      onSubmit={(event) => {
        event.preventDefault();
        if (number === null || shown.units.includes(number)) return;
        change({ units: toggled(shown.units, number) });
        setText("");
      }}
    >
      <label htmlFor="unit">Components</label>
      <ul className="chips" aria-label="Components that are changed">
        {shown.units.map((each) => (
          <li key={each}>
            {paged ? <Link to={componentPath(paged.id, { layer, index: each })}>{each}</Link> : each}
            <button type="button" className="button quiet small" aria-label={`Leave component ${each} alone`} onClick={() => change({ units: toggled(shown.units, each) })}>
              <span aria-hidden="true">×</span>
            </button>
          </li>
        ))}
        {shown.units.length === 0 && <li className="muted">none yet</li>}
      </ul>
      <span>
        <input id="unit" type="text" inputMode="numeric" placeholder="number" value={text} autoComplete="off" onChange={(event) => setText(event.target.value)} />
        <button type="submit" className="button" disabled={number === null || shown.units.length >= MOST_UNITS}>
          Take
        </button>
      </span>
    </form>
  );
}

const SETTLED = 250;

/** A slider that tells its value once it stands still; arrow keys move it as well. */
function Strength({ how, medium, window, value, change }: { how: Steering["how"]; medium: Medium; window: Window | null; value: number; change: (strength: number) => void }) {
  const [now, setNow] = useState(value);
  const { least, most } = reachOf(how, medium);
  const along = (strength: number) => (100 * (Math.min(most, Math.max(least, strength)) - least)) / (most - least);
  useEffect(() => setNow(value), [how, value]);
  useEffect(() => {
    if (now === value) return;
    const timer = setTimeout(() => change(now), SETTLED);
    return () => clearTimeout(timer);
  }, [now, value, change]);
  return (
    <label>
      Strength <span className="num">{figure(now)}</span>
      <input type="range" min={least} max={most} step={(most - least) / 48} value={now} onChange={(event) => setNow(Number(event.target.value))} />
      {window && (
        <span className="band" aria-hidden="true">
          <span style={{ left: `${along(window.low)}%`, width: `${Math.max(1, along(window.high) - along(window.low))}%` }} />
        </span>
      )}
    </label>
  );
}

const OFFERED = 12;

/** The components of the layer that the prediction rests on, to be taken up. */
function Behind({ shown, layer, change, model, source }: Omit<Props, "snapshot">) {
  const ranked = useQuery({
    queryKey: ["behind", model.ref.id, shown.dataset, shown.sample, shown.picture, shown.target, layer],
    queryFn: ({ signal }) =>
      ask(
        api.POST("/v1/models/{model}/attributions", {
          params: { path: { model: model.ref.id } },
          body: { ...source, target: shown.target, methods: ["gradient_x_input"], layers: [layer], components: OFFERED, steps: 1, fallback: "error" },
          signal,
        }),
      ),
    staleTime: Infinity,
  });
  const components = ranked.data?.layers[0]?.components ?? [];
  return (
    <section className="panel" aria-labelledby="behind-title" aria-busy={ranked.isPending}>
      <h2 id="behind-title">Behind the prediction</h2>
      {ranked.isError && <Refusal problem={ranked.error} />}
      <Offers label="Components behind the prediction" offers={components.map((each) => ({ index: each.index, told: `${each.share < 0 ? "−" : "+"}${percent(Math.abs(each.share))}` }))} shown={shown} change={change} />
    </section>
  );
}

function Offers({ label, offers, shown, change }: { label: string; offers: { index: number; told: string }[] } & Pick<Props, "shown" | "change">) {
  return (
    <ul className="chips" aria-label={label}>
      {offers.map(({ index, told }) => (
        <li key={index}>
          <button type="button" className="button small" aria-pressed={shown.units.includes(index)} disabled={shown.units.length >= MOST_UNITS && !shown.units.includes(index)} onClick={() => change({ units: toggled(shown.units, index) })}>
            {index} <span className="muted num">{told}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

/** Components of the layer that respond to a text; whether they also cause it, the outcome shows. */
function ByText({ snapshot, shown, layer, change }: { snapshot: string } & Pick<Props, "shown" | "layer" | "change">) {
  const [text, setText] = useState("");
  const found = useMutation({
    mutationFn: () =>
      ask(
        api.POST("/v1/snapshots/{snapshot}/search", {
          params: { path: { snapshot } },
          body: { terms: [{ kind: "text", text: text.trim(), weight: 1 }], k: 8, examples: 0, layers: [layer] },
        }),
      ),
  });
  return (
    <section className="panel" aria-labelledby="bytext-title">
      <h2 id="bytext-title">By meaning</h2>
      <form
        className="otheroutput"
        onSubmit={(event) => {
          event.preventDefault();
          found.mutate();
        }}
      >
        <label htmlFor="meaning">Components that respond to</label>
        <span>
          <input id="meaning" type="text" required maxLength={200} placeholder="a striped animal" value={text} onChange={(event) => setText(event.target.value)} />
          <button type="submit" className="button" disabled={found.isPending || text.trim() === ""}>
            Find
          </button>
        </span>
      </form>
      {found.isError && <Refusal problem={found.error} />}
      {found.data && (
        <Offers
          label="Components that respond to the text"
          offers={found.data.hits.map((hit) => ({ index: hit.component.index, told: figure(hit.score) }))}
          shown={shown}
          change={change}
        />
      )}
    </section>
  );
}
