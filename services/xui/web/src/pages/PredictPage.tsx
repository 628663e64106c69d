import { useQueries, useQuery } from "@tanstack/react-query";
import { useCallback, useMemo, useState } from "react";
import { type Answer, api, ask, type AttributionAnswer, type AttributionMethod, type Model } from "../api/client";
import { plural } from "../format";
import { Choices, MethodChoices } from "../parts/Choosers";
import { GraphPanel } from "../parts/GraphPanel";
import { FigureLegend, HeatCard } from "../parts/HeatCard";
import { JudgeMethods } from "../parts/JudgeMethods";
import { type OnBench, PictureBench } from "../parts/PictureBench";
import { useAddress } from "../parts/address";
import { type Case, readCase, usualLayers, usualMethods, writeCase } from "../parts/predict";
import { PlaysPanel } from "../parts/PlaysPanel";
import { Prediction } from "../parts/Prediction";
import { RelevantComponents } from "../parts/RelevantComponents";
import { Loading } from "../parts/states";
import { useTitle } from "../parts/title";
import "../styles/predict.css";

export function PredictPage() {
  useTitle("Predict");
  const [search, setSearch] = useAddress();
  const shown = useMemo(() => readCase(search), [search]);
  const change = useCallback(
    (part: Partial<Case>) => setSearch((now) => writeCase({ ...readCase(now), ...part })),
    [setSearch],
  );
  return (
    <main className="page">
      <h1>Why this prediction?</h1>
      <p className="lead">What a model sees in one picture: which places and which components speak for its output.</p>
      <PictureBench shown={shown} change={change} command={(model) => `xsys attribute ${model} --image PICTURE.png`}>
        {(at) => <Explained shown={shown} change={change} {...at} />}
      </PictureBench>
    </main>
  );
}

interface ExplainedProps extends OnBench {
  shown: Case;
  change: (part: Partial<Case>) => void;
}

const COMPONENTS = 8;
const STEPS = 8;

function Explained({ shown, change, model, snapshot, source }: ExplainedProps) {
  const [opacity, setOpacity] = useState(80);
  const listed = useQuery({
    queryKey: ["attribution-methods"],
    queryFn: ({ signal }) => ask(api.GET("/v1/attribution-methods", { signal })),
    staleTime: Infinity,
  });
  const methods = shown.methods.length > 0 ? shown.methods : usualMethods(model);
  const layers = shown.layers.length > 0 ? shown.layers : usualLayers(model, snapshot);
  const answers = useAnswers(shown, model, source, methods, layers, listed.data?.items ?? []);
  const first = answers.find((answer) => answer.data)?.data;
  const relevant = answers.flatMap((answer) => answer.data?.layers ?? []);
  const about = (name: string) => listed.data?.items.find((method) => method.name === name);
  return (
    <div className="withside explained">
      <div className="mainside">
        <section aria-labelledby="maps-title">
          <div className="mapshead">
            <h2 id="maps-title">{plural(methods.length, "method")}, side by side</h2>
            <label>
              Map over picture{" "}
              <input type="range" min="0" max="100" step="5" value={opacity} onChange={(event) => setOpacity(Number(event.target.value))} />
              <span className="num">{opacity} %</span>
            </label>
          </div>
          <ol className="heats" aria-label="Maps">
            {methods.map((method, i) => (
              <HeatCard
                key={method}
                method={method}
                about={about(method)}
                answer={answers[i]?.data}
                problem={answers[i]?.error ?? null}
                opacity={opacity}
                remove={methods.length > 1 ? () => change({ methods: methods.filter((each) => each !== method) }) : null}
              />
            ))}
          </ol>
          <p className="key small">
            <span className="swatch for" /> speaks for the output <span className="swatch against" /> speaks against it
          </p>
          <FigureLegend />
        </section>
        <section aria-labelledby="components-title">
          <h2 id="components-title">Components behind it</h2>
          {!snapshot && (
            <p className="notice">
              What these components respond to is not known yet: <code>xsys snapshot build --model {model.ref.name} --dataset DATASET</code>
            </p>
          )}
          <div className="layergrid">
            {relevant.map((layer) => (
              <RelevantComponents
                key={layer.layer}
                model={model.ref.id}
                layer={layer}
                target={first?.target.index ?? 0}
                sample={source.sample ?? null}
                snapshot={snapshot}
              />
            ))}
          </div>
          <GraphPanel key={JSON.stringify([model.ref.id, source.sample, shown.picture, shown.target, layers])} model={model} source={source} snapshot={snapshot} target={shown.target} layers={layers} />
          <PlaysPanel key={JSON.stringify(["plays", model.ref.id, source.sample, shown.picture, shown.target])} model={model} source={source} target={shown.target} />
          {relevant.length === 0 && !answers.some((answer) => answer.isPending) && <p className="muted">There are none to show.</p>}
        </section>
      </div>
      <aside aria-label="Prediction and choices">
        {first ? (
          <Prediction answer={first} model={model} target={shown.target} choose={(target) => change({ target })} />
        ) : (
          answers.some((answer) => answer.isPending) && <Loading what="the prediction" />
        )}
        {listed.data && <MethodChoices methods={listed.data.items} chosen={methods} change={(names) => change({ methods: names })} />}
        {source.sample && (
          <JudgeMethods model={model.ref.id} dataset={source.sample.dataset} sample={source.sample.index} methods={methods} />
        )}
        <details className="panel">
          <summary>Layers ({layers.length})</summary>
          <Choices
            title="Whose components to rank"
            names={(snapshot?.layers ?? model.layers).map((layer) => layer.name)}
            chosen={layers}
            most={8}
            change={(names) => change({ layers: names })}
          />
        </details>
      </aside>
    </div>
  );
}

/** One request a method, so that each map shows when it is there, and one that is refused hides no other. */
function useAnswers(
  shown: Case,
  model: Model,
  source: ExplainedProps["source"],
  methods: string[],
  layers: string[],
  listed: AttributionMethod[],
) {
  const ranks = methods.find((name) => listed.find((each) => each.name === name)?.family === "composite") ?? methods[0];
  return useQueries({
    queries: methods.map((method) => ({
      queryKey: ["attribution", model.ref.id, shown.dataset, shown.sample, shown.picture, shown.target, method, method === ranks ? layers : []],
      queryFn: ({ signal }: { signal: AbortSignal }) =>
        ask(
          api.POST("/v1/models/{model}/attributions", {
            params: { path: { model: model.ref.id } },
            body: {
              ...source,
              target: shown.target,
              methods: [method],
              layers: method === ranks ? layers : [],
              components: COMPONENTS,
              steps: STEPS,
              fallback: "error",
            },
            signal,
          }) as Promise<Answer<AttributionAnswer>>,
        ),
      enabled: listed.length > 0,
      staleTime: Infinity,
    })),
  });
}
