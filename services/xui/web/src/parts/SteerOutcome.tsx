import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, ask, type SteeringPreview, type SteeringRequest } from "../api/client";
import { figure, percent, words } from "../format";
import { useAnalysis } from "./analysis";
import { csvText, download } from "./download";
import { LineChart } from "./LineChart";
import { Loading, Refusal } from "./states";
import { HOW, interventionsOf, type Steering, sweepOf } from "./steer";

interface Props {
  model: string;
  layer: string;
  shown: Steering;
  source: Pick<SteeringRequest, "sample" | "picture">;
  change: (part: Partial<Steering>) => void;
}

const LISTED = 8;

function useSteered(model: string, body: SteeringRequest, key: unknown[], enabled = true) {
  return useQuery({
    queryKey: ["steered", model, ...key],
    queryFn: ({ signal }) => ask(api.POST("/v1/models/{model}/steering-preview", { params: { path: { model } }, body, signal })),
    staleTime: Infinity,
    enabled,
    placeholderData: (before) => before,
  });
}

/** What the change does to this prediction: outputs before and after, maps, and what other strengths would do. */
export function SteerOutcome({ model, layer, shown, source, change }: Props) {
  const asked: SteeringRequest = {
    ...source,
    target: shown.target,
    interventions: interventionsOf(layer, shown),
    maps: shown.maps,
    methods: ["gradcam"],
    strengths: [],
    closeness: 0.7,
    top: LISTED,
  };
  const at = [shown.dataset, shown.sample, shown.picture, shown.target, layer, shown.units, shown.how];
  const steered = useSteered(model, asked, [...at, shown.strength, shown.maps]);
  const swept = useSteered(model, { ...asked, maps: false, strengths: sweepOf(shown.how) }, [...at, "sweep"], steered.isSuccess);
  return (
    <>
      <section className="panel" aria-labelledby="outcome-title" aria-busy={steered.isFetching}>
        <div className="panelhead">
          <h2 id="outcome-title">The prediction, before and after</h2>
          {steered.data && !steered.isPlaceholderData && <Keep model={model} asked={asked} found={steered.data} />}
        </div>
        {steered.isError && <Refusal problem={steered.error} />}
        {steered.isPending && <Loading what="the steered prediction" />}
        {steered.data && !steered.isError && (
          <div className={steered.isPlaceholderData ? "stale" : undefined}>
            <Outputs found={steered.data} />
          </div>
        )}
      </section>
      {shown.maps && steered.data && !steered.isError && <Maps found={steered.data} />}
      <Sweep swept={swept.isPlaceholderData ? undefined : swept.data} pending={swept.isFetching} problem={swept.isError ? swept.error : null} {...{ shown, change }} file={`${model}-${layer}`} />
    </>
  );
}

function Outputs({ found }: { found: SteeringPreview }) {
  const moved = found.layers.map((each) => (each.moved == null ? "" : `${each.layer} moved by ${percent(each.moved)} of its length`)).filter(Boolean);
  const [first, second] = [found.before[0], found.after[0]];
  return (
    <>
      <p role="status">
        {found.flipped && first && second ? (
          <>
            <b>{nameOf(first)}</b> becomes <b>{nameOf(second)}</b>.
          </>
        ) : (
          <>
            It stays <b>{first ? nameOf(first) : "what it was"}</b>.
          </>
        )}{" "}
        <span className="muted">
          Total variation <span className="num">{figure(found.variation)}</span>
          {found.closeness != null && (
            <>
              , correlation of all outputs <span className="num">{figure(found.closeness)}</span>
            </>
          )}
          {moved.length > 0 && `; ${moved.join(", ")}`}
        </span>
      </p>
      <div className="scroll">
        <table aria-label="Probabilities before and after">
          <thead>
            <tr>
              <th scope="col">Output</th>
              <th scope="col">Before</th>
              <th scope="col">After</th>
              <th scope="col" className="right">
                Change
              </th>
            </tr>
          </thead>
          <tbody>
            {found.changes.slice(0, LISTED).map((each) => (
              <tr key={each.index}>
                <th scope="row">
                  {nameOf(each)}
                  {each.index === found.target.index && <span className="muted"> · watched</span>}
                </th>
                <td>
                  <Share value={each.before} />
                </td>
                <td>
                  <Share value={each.after} />
                </td>
                <td className="right num">
                  {each.change < 0 ? "−" : "+"}
                  {percent(Math.abs(each.change))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

const nameOf = (each: { index: number; name?: string | null }): string => each.name ?? `output ${each.index}`;

function Share({ value }: { value: number }) {
  return (
    <span className="probability">
      <span className="track" aria-hidden="true">
        <span className="fill" style={{ width: `${value * 100}%` }} />
      </span>
      <span className="num">{percent(value)}</span>
    </span>
  );
}

/** Steerings of a sample can be kept in the analysis session that is open; pictures from this machine are not. */
function Keep({ model, asked, found }: { model: string; asked: SteeringRequest; found: SteeringPreview }) {
  const { id, mayEdit, act } = useAnalysis();
  const [kept, setKept] = useState<string | null>(null);
  const key = JSON.stringify([id, model, asked]);
  if (id === null || !mayEdit || !asked.sample) return null;
  const action = { kind: "steer", model, request: asked, flipped: found.flipped, variation: found.variation } as const;
  return (
    <button type="button" className="button" disabled={kept === key} onClick={() => void act(action).then(() => setKept(key)).catch(() => undefined)}>
      {kept === key ? "Kept in the session" : "Keep in the session"}
    </button>
  );
}

function Maps({ found }: { found: SteeringPreview }) {
  return (
    <section className="panel" aria-labelledby="maps-title">
      <h2 id="maps-title">Where the model looks for “{nameOf(found.target)}”</h2>
      {found.maps.map((each) => (
        <div key={each.method}>
          <ol className="heats" aria-label={words(each.method)}>
            {(["before", "after"] as const).map((when) => (
              <li key={when}>
                <h3>{when === "before" ? "Before" : "After"}</h3>
                <img src={`data:image/png;base64,${each[when].heatmap}`} alt={`Map by ${words(each.method)} ${when} the change: red speaks for the output, blue against it`} width="224" />
              </li>
            ))}
          </ol>
          <p className="small muted">
            {words(each.method)}; correlation of the two maps <span className="num">{figure(each.correlation)}</span>
          </p>
        </div>
      ))}
    </section>
  );
}

interface SweepProps {
  swept: SteeringPreview | undefined;
  pending: boolean;
  problem: unknown;
  shown: Steering;
  change: (part: Partial<Steering>) => void;
  file: string;
}

/** What each strength would do, and the strengths that change the first output while the others stay alike. */
function Sweep({ swept, pending, problem, shown, change, file }: SweepProps) {
  const points = (swept?.curve ?? []).filter((each) => each.finite);
  const line = (name: string, value: (each: (typeof points)[number]) => number | null | undefined) => ({
    name,
    points: points.flatMap((each) => {
      const y = value(each);
      return y == null ? [] : [[each.strength, y] as const];
    }),
  });
  const rows = points.map((each) => [each.strength, each.top?.name ?? each.top?.index, each.target, each.variation, each.closeness, each.flipped ? "yes" : "no"]);
  return (
    <section aria-labelledby="sweep-title" aria-busy={pending}>
      <div className="panelhead">
        <h2 id="sweep-title">Other strengths</h2>
        {points.length > 0 && (
          <button
            type="button"
            className="button"
            onClick={() => download(`${file}.csv`, "text/csv", csvText([["strength", "first output", "watched output", "variation", "closeness", "flipped"], ...rows]))}
          >
            CSV
          </button>
        )}
      </div>
      {problem ? <Refusal problem={problem} /> : null}
      {pending && points.length === 0 && <Loading what="the curve" />}
      {swept?.window && (
        <p className="notice">
          Between <span className="num">{figure(swept.window.low)}</span> and <span className="num">{figure(swept.window.high)}</span> the first output changes while the
          others stay alike.{" "}
          <button type="button" className="button small" onClick={() => change({ strength: swept.window!.recommended })}>
            Use {figure(swept.window.recommended)}, which changes them least
          </button>
        </p>
      )}
      {swept && !swept.window && points.length > 0 && <p className="muted">No strength is recommended: {swept.window_note}.</p>}
      {points.length > 0 && (
        <div className="sweep">
          <LineChart
            title={`${HOW[shown.how].name}: what strengths do`}
            across={`strength, ${HOW[shown.how].unit}`}
            file={file}
            series={[
              line(`probability of ${swept ? nameOf(swept.target) : ""}`, (each) => each.target),
              line("total variation", (each) => each.variation),
              line("correlation of the outputs", (each) => each.closeness),
            ]}
          />
        </div>
      )}
    </section>
  );
}
