import type { ReactNode } from "react";
import { Link } from "react-router";
import type { Model, Snapshot } from "../api/client";
import { thumbnail } from "../api/client";
import { useChoice, useListing } from "./listing";
import { pictureOf } from "./pictures";
import { PicturePicker } from "./PicturePicker";
import { type Case, sourceOf } from "./predict";
import { Empty, Loading, Refusal } from "./states";

export interface OnBench {
  model: Model;
  snapshot: Snapshot | undefined;
  source: NonNullable<ReturnType<typeof sourceOf>>;
}

interface Props {
  shown: Case;
  change: (part: Partial<Case>) => void;
  command: (model: string) => string;
  children: (at: OnBench) => ReactNode;
}

/** A model and a picture to look at, chosen here; what is done with them comes below. */
export function PictureBench({ shown, change, command, children }: Props) {
  const models = useChoice("/v1/models", shown.model);
  const datasets = useChoice("/v1/datasets", shown.dataset);
  const reading = models.items.filter((each) => each.ref.preprocessing);
  const model = shown.model === null ? reading[0] : reading.find((each) => each === models.chosen);
  const forgotten = shown.picture !== null && pictureOf(shown.picture) === undefined;
  return (
    <>
      {(models.isPending || datasets.isPending) && <Loading what="models and pictures" />}
      {models.query.isError && <Refusal problem={models.query.error} retry={() => void models.query.refetch()} />}
      {models.query.isSuccess && reading.length === 0 && models.more}
      {models.query.isSuccess && reading.length === 0 && !models.query.hasNextPage && (
        <Empty title="No model yet">
          <p>Register one, then come back:</p>
          <pre className="command">xsys model add lite0 --architecture timm:tf_efficientnet_lite0</pre>
        </Empty>
      )}
      {models.problem && <Refusal problem={models.problem} retry={models.retry} />}
      {datasets.problem && <Refusal problem={datasets.problem} retry={datasets.retry} />}
      {!models.isPending && !models.problem && reading.length > 0 && !model && (
        <Empty title="This model is not here">
          <p>
            The address names a model that this workspace does not have, or one that reads no pictures. See the{" "}
            <Link to="/models">models</Link>.
          </p>
        </Empty>
      )}
      {forgotten && <p className="notice">The uploaded picture is not kept across reloads: choose it again.</p>}
      {model && datasets.query.isSuccess && !datasets.isPending && (
        <Workbench key={model.ref.id} {...{ shown, change, command, model }} show={children} models={reading} more={models.more}>
          <PicturePicker
            more={datasets.more}
            datasets={datasets.items.filter((each) => each.kind === "pictures")}
            dataset={shown.dataset}
            sample={shown.picture === null ? shown.sample : null}
            chooseDataset={(dataset) => change({ dataset, sample: null, picture: null })}
            chooseSample={(dataset, sample) => change({ model: model.ref.id, dataset, sample, picture: null, target: null })}
            choosePicture={(picture) => change({ model: model.ref.id, picture, sample: null, target: null })}
          />
        </Workbench>
      )}
    </>
  );
}

interface WorkbenchProps extends Omit<Props, "children"> {
  model: Model;
  models: Model[];
  more: ReactNode;
  children: ReactNode;
  show: Props["children"];
}

function Workbench({ shown, change, command, model, models, more, children, show }: WorkbenchProps) {
  const snapshots = useListing("/v1/snapshots");
  const source = sourceOf(shown);
  const picture = pictureOf(shown.picture);
  const snapshot = snapshots.items.find((each) => each.model.id === model.ref.id);
  return (
    <>
      <details className="panel spaced picker" open={source === null}>
        <summary>
          {picture && <img src={picture.preview} alt="" height="32" />}
          {!picture && source && shown.dataset !== null && shown.sample !== null && (
            <img src={thumbnail(shown.dataset, shown.sample)} alt="" height="32" />
          )}
          {source === null ? "Choose a picture" : `Picture: ${picture?.name ?? `sample ${shown.sample}`}`}
        </summary>
        {children}
      </details>
      <div className="pickrow spaced">
        <label>
          Model{" "}
          <select value={model.ref.id} onChange={(event) => change({ model: event.target.value, target: null, layers: [], methods: [] })}>
            {models.map((each) => (
              <option key={each.ref.id} value={each.ref.id}>
                {each.ref.name}
              </option>
            ))}
          </select>
        </label>
        {more}
      </div>
      {source === null && (
        <Empty title="No picture yet">
          <p>Take a picture above; the model runs on it at once. On the command line:</p>
          <pre className="command">{command(model.ref.name)}</pre>
        </Empty>
      )}
      {source !== null && snapshots.query.isSuccess && show({ model, snapshot, source })}
    </>
  );
}
