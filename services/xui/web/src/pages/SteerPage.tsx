import { useCallback, useMemo } from "react";
import { Link } from "react-router";
import { type OnBench, PictureBench } from "../parts/PictureBench";
import { SteerControls } from "../parts/SteerControls";
import { SteerOutcome } from "../parts/SteerOutcome";
import { useAddress } from "../parts/address";
import { Empty } from "../parts/states";
import { layerOf, readSteering, type Steering, writeSteering } from "../parts/steer";
import { useTitle } from "../parts/title";
import { useMay } from "../session";
import "../styles/predict.css";
import "../styles/steer.css";

/** Change components of a model and see what its prediction becomes; the address keeps all of it. */
export function SteerPage() {
  useTitle("Steer");
  const [search, setSearch] = useAddress();
  const may = useMay("steer");
  const shown = useMemo(() => readSteering(search), [search]);
  const change = useCallback(
    (part: Partial<Steering>) =>
      setSearch(
        (now) => {
          const before = readSteering(now);
          const other = part.layers !== undefined && part.layers[0] !== before.layers[0];
          return writeSteering({ ...before, ...(other ? { units: [] } : {}), ...part });
        },
        { replace: true },
      ),
    [setSearch],
  );
  return (
    <main className="page">
      <h1>What if it saw something else?</h1>
      <p className="lead">Take components of a model out, scale them or add them, and see what becomes of one prediction. Language models write <Link to="/steer/text">here</Link>.</p>
      {may ? (
        <PictureBench shown={shown} change={change} command={(model) => `xsys steer ${model} --image PICTURE.png --component LAYER:NUMBER`}>
          {(at) => <Steered shown={shown} change={change} {...at} />}
        </PictureBench>
      ) : (
        <Empty title="Not for your role">
          <p>Steering runs changed models, which analysts and admins may do. Ask an admin of this workspace.</p>
        </Empty>
      )}
    </main>
  );
}

function Steered({ shown, change, ...at }: OnBench & { shown: Steering; change: (part: Partial<Steering>) => void }) {
  const layer = layerOf(shown, at.model, at.snapshot);
  if (layer === undefined) return <Empty title="This model has no layers to steer" />;
  return (
    <div className="withside explained">
      <div className="mainside">
        {shown.units.length > 0 ? (
          <SteerOutcome model={at.model.ref.id} layer={layer} shown={shown} source={at.source} change={change} />
        ) : (
          <Empty title="Nothing is changed yet">
            <p>Take components at the side: those behind the prediction, those that respond to a text, or any by its number.</p>
          </Empty>
        )}
      </div>
      <aside aria-label="What is changed">
        <SteerControls {...at} shown={shown} layer={layer} change={change} />
      </aside>
    </div>
  );
}
