import { useCallback, useMemo, useState } from "react";
import { Link } from "react-router";
import type { GenerationRequest, GenerationState, Model, SteeringDirection } from "../api/client";
import { figure, percent } from "../format";
import { useAddress } from "../parts/address";
import { NumberField, Pick } from "../parts/fields";
import { MoreButton, useChoice } from "../parts/listing";
import { type Concept, SteerConcept, useDirection } from "../parts/SteerConcept";
import { HowMuch, Units } from "../parts/SteerControls";
import { SteerMeasured, useAdvice } from "../parts/SteerMeasured";
import { Empty, Loading, Refusal } from "../parts/states";
import { interventionsOf, readSteering, type Steering, writeSteering } from "../parts/steer";
import { useTitle } from "../parts/title";
import { useWriting } from "../parts/writing";
import { useMay } from "../session";
import "../styles/predict.css";
import "../styles/steer.css";

const FIRST = "I went for a walk and";

/** Continue a prompt with and without a change of the model, side by side, while both are written. */
export function SteerTextPage() {
  useTitle("Steer text");
  const [search] = useAddress();
  const named = search.get("model");
  const models = useChoice("/v1/models", named);
  const writers = models.items.filter((each) => !each.ref.preprocessing);
  const model = named === null ? writers[0] : writers.find((each) => each === models.chosen);
  return (
    <main className="page">
      <p className="crumbs">
        <Link to="/steer">Steer</Link> / Text
      </p>
      <h1>What if it thought of something else?</h1>
      <p className="lead">A language model goes on with a prompt as it is, and with components changed, from the same seeds.</p>
      {models.isPending && <Loading what="models" />}
      {models.query.isError && <Refusal problem={models.query.error} retry={() => void models.query.refetch()} />}
      {models.query.isSuccess && writers.length === 0 && (
        <Empty title="No language model yet">
          <p>Register one, then come back:</p>
          <pre className="command">xsys model add smollm2 --architecture llm:smollm2</pre>
        </Empty>
      )}
      {models.query.hasNextPage && <MoreButton what="Older models" load={() => void models.query.fetchNextPage()} busy={models.query.isFetchingNextPage} />}
      {models.problem && <Refusal problem={models.problem} retry={models.retry} />}
      {!models.isPending && !models.problem && writers.length > 0 && !model && (
        <Empty title="This model is not here">
          <p>
            The address names a model that this workspace does not have, or one that writes no text. See the <Link to="/models">models</Link>.
          </p>
        </Empty>
      )}
      {model && <Desk models={writers} model={model} />}
    </main>
  );
}

function Desk({ models, model }: { models: Model[]; model: Model }) {
  const [search, setSearch] = useAddress();
  const maySteer = useMay("steer");
  const shown = useMemo(() => readSteering(search, "text"), [search]);
  const concept = useMemo(() => conceptOf(search), [search]);
  const go = useCallback(
    (part: Partial<Steering>, others: { prompt?: string; concept?: Concept | null } = {}) =>
      setSearch(
        (now) => {
          const { prompt = now.get("prompt"), concept = part.model ? null : conceptOf(now) } = others; // a concept is one model's
          return addressOf({ ...readSteering(now, "text"), ...part }, prompt, concept);
        },
        { replace: true },
      ),
    [setSearch],
  );
  const change = useCallback((part: Partial<Steering>) => go(part), [go]);
  const layers = model.layers.map((each) => each.name);
  const layer = shown.layers[0] ?? middleOf(layers.filter((name) => BLOCK.test(name))) ?? middleOf(layers) ?? "";
  const direction = useDirection(concept);
  const advice = useAdvice(model.ref.id, (concept && direction.data?.layer) || layer, concept);
  const choose = (chosen: Concept | null) => go({ model: model.ref.id, units: [] }, { concept: chosen });
  const interventions = direction.data && concept ? alongOf(direction.data, shown) : interventionsOf(layer, shown);
  const [prompt, setPrompt] = useState(search.get("prompt") ?? FIRST);
  const [how, setHow] = useState({ max_tokens: 40, samples: 1, temperature: 0.7, seed: 0 });
  const { state, problem, busy, write, stop } = useWriting();
  const steered = maySteer && interventions.length > 0;
  return (
    <div className="withside explained">
      <div className="mainside">
        <form
          className="panel stacked"
          onSubmit={(event) => {
            event.preventDefault();
            go({ model: model.ref.id, layers: [layer] }, { prompt, concept });
            write(model.ref.id, { ...how, prompt, chat: false, top_k: 64, scores: true, interventions: steered ? interventions : [] });
          }}
        >
          <Pick label="Model" value={model.ref.id} among={models.map((each) => each.ref.id)} show={(id) => models.find((each) => each.ref.id === id)?.ref.name ?? id} change={(id) => change({ model: id, layers: [], units: [] })} />
          <label>
            Prompt
            <textarea required rows={3} maxLength={10_000} value={prompt} onChange={(event) => setPrompt(event.target.value)} />
          </label>
          <details>
            <summary>How it writes</summary>
            <NumberField label="Tokens" value={how.max_tokens} min={1} max={256} change={(max_tokens) => setHow({ ...how, max_tokens })} />
            <NumberField label="Texts" value={how.samples} min={1} max={16} change={(samples) => setHow({ ...how, samples })} />
            <NumberField label="Temperature (0: the likeliest token)" value={how.temperature} min={0} max={10} step="any" change={(temperature) => setHow({ ...how, temperature })} />
            <NumberField label="Seed" value={how.seed} min={0} max={2 ** 31 - 1} change={(seed) => setHow({ ...how, seed })} />
          </details>
          <span className="actions">
            <button type="submit" className="button primary" disabled={busy}>
              {steered ? "Write both" : "Write"}
            </button>
            {busy && (
              <button type="button" className="button" onClick={stop}>
                Stop
              </button>
            )}
          </span>
        </form>
        {problem ? <Refusal problem={problem} /> : null}
        {busy && state === null && <Loading what="the model" />}
        {state && <Texts prompt={prompt} state={state} />}
      </div>
      <aside aria-label="What is changed">
        {maySteer && <SteerConcept key={model.ref.id} model={model} concept={concept} found={direction} choose={choose} />}
        {maySteer ? (
          <section className="panel stacked" aria-labelledby="change-title">
            <h2 id="change-title">Change</h2>
            {concept ? (
              <p className="small">
                Along “{concept.text}”{direction.data && ` in ${direction.data.layer}`}
              </p>
            ) : (
              <>
                <Pick label="Layer" value={layer} among={layers} change={(chosen) => change({ layers: [chosen], units: [] })} />
                <Units shown={shown} layer={layer} change={change} snapshot={undefined} />
              </>
            )}
            <HowMuch shown={shown} change={change} medium="text" window={shown.how === "add" ? advice.window : null} />
            {shown.how === "add" && <SteerMeasured advice={advice} take={(strength) => change({ strength })} />}
          </section>
        ) : (
          <p className="notice">Steering is for analysts and admins; as it is, the model writes for you too.</p>
        )}
      </aside>
    </div>
  );
}

const conceptOf = (search: URLSearchParams): Concept | null => {
  const [of, text] = [search.get("of"), search.get("concept")];
  return of && text ? { of, text } : null;
};

function addressOf(shown: Steering, prompt: string | null, concept: Concept | null): URLSearchParams {
  const search = writeSteering(shown);
  if (prompt !== null) search.set("prompt", prompt);
  if (concept) search.set("of", concept.of);
  if (concept) search.set("concept", concept.text);
  return search;
}

const alongOf = ({ layer, vector }: SteeringDirection, { how, strength }: Steering): GenerationRequest["interventions"] => [
  { target: { kind: "direction", layer, vector, array: "direction" }, change: how, strength, unit: "norm", keep_norm: false },
];

const BLOCK = /\.\d+$/; // a whole block, whose output is the residual stream

const middleOf = (names: string[]): string | undefined => names[Math.floor(names.length / 2)];

const ARMS = { unsteered: "As it is", steered: "Changed" } as const;

function Texts({ prompt, state }: { prompt: string; state: GenerationState }) {
  const arms = (["unsteered", "steered"] as const).filter((arm) => state.rows.some((row) => row.arm === arm));
  return (
    <div className="texts" aria-busy={!state.ended}>
      {arms.map((arm) => (
        <section key={arm} className="panel" aria-labelledby={`${arm}-title`}>
          <h2 id={`${arm}-title`}>{ARMS[arm]}</h2>
          <ol className="rows" aria-label={`Texts: ${ARMS[arm]}`}>
            {state.rows
              .filter((row) => row.arm === arm)
              .map((row) => (
                <li key={row.seed}>
                  <p>
                    <span className="muted">{prompt}</span>
                    {row.text}
                    {!state.ended && row.end === null && <span aria-hidden="true"> ▌</span>}
                  </p>
                  {row.scores && (
                    <p className="small muted">
                      perplexity to the model as it is <span className="num">{figure(row.scores.perplexity, 1)}</span> · different pairs of words{" "}
                      <span className="num">{percent(row.scores.distinct)}</span> · repeated fours <span className="num">{percent(row.scores.repeated)}</span>
                    </p>
                  )}
                </li>
              ))}
          </ol>
        </section>
      ))}
    </div>
  );
}
