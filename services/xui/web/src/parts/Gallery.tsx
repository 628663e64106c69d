import { useRef, useState } from "react";
import { Link } from "react-router";
import { type Crop, type Example, picture } from "../api/client";
import { activation } from "../format";
import { snapshotPath } from "./links";
import { Thumb } from "./Thumb";

interface Props {
  dataset: string;
  at: string;
  examples: Example[];
  label: string;
  /** what to cut of each sample; whole pictures where there is nothing */
  crops?: Map<number, Crop>;
}

/** Pictures with their activations; each opens large. */
export function Gallery({ dataset, at, examples, label, crops }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [shown, setShown] = useState<Example | null>(null);
  const open = (example: Example) => {
    setShown(example);
    dialog.current?.showModal();
  };
  return (
    <>
      <ol className="gallery" aria-label={label}>
        {examples.map((example) => (
          <li key={example.sample}>
            <button type="button" className="bare" onClick={() => open(example)}>
              <Thumb dataset={dataset} example={example} crop={crops?.get(example.sample)} open />
            </button>
          </li>
        ))}
      </ol>
      <dialog ref={dialog} className="large" aria-label="Picture" onClick={(event) => event.target === dialog.current && dialog.current.close()}>
        {shown !== null && (
          <div>
            <img src={picture(dataset, shown.sample)} alt={shown.label ?? `sample ${shown.sample}`} />
            <p>
              <b>{shown.label ?? "no label"}</b> <span className="muted">sample {shown.sample}</span> · activation{" "}
              <b className="num">{activation(shown.activation)}</b>
              {shown.relevance != null && (
                <>
                  {" "}
                  · relevance <b className="num">{activation(shown.relevance)}</b>
                </>
              )}
            </p>
            <p className="actions">
              <Link className="button" to={`${snapshotPath(at)}?sample=${shown.sample}`}>
                Search with this picture
              </Link>
              <button type="button" className="button" onClick={() => dialog.current?.close()}>
                Close
              </button>
            </p>
          </div>
        )}
      </dialog>
    </>
  );
}
