import { useRef, useState } from "react";
import { Link } from "react-router";
import { type Example, picture } from "../api/client";
import { activation } from "../format";
import { snapshotPath } from "./links";
import { Thumb } from "./Thumb";

interface Props {
  dataset: string;
  at: string;
  examples: Example[];
  label: string;
}

/** Pictures with their activations; each opens large. */
export function Gallery({ dataset, at, examples, label }: Props) {
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
              <Thumb dataset={dataset} example={example} open />
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
