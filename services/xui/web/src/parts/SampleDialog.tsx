import { useEffect, useRef, useState } from "react";
import { Link, useNavigate } from "react-router";
import { picture, type Sample, type Snapshot } from "../api/client";
import { plural } from "../format";
import { snapshotPath } from "./links";
import { useListing } from "./listing";
import { keepPicture } from "./pictures";
import { predictPath } from "./predict";
import { Loading, Refusal } from "./states";

/** A picture of a dataset, and what can be asked with it. */
export function SampleDialog({ dataset, sample, close }: { dataset: string; sample: Sample | null; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (sample !== null && !dialog.current?.open) dialog.current?.showModal();
  }, [sample]);
  return (
    <dialog ref={dialog} className="large" aria-label="Picture" onClose={close} onClick={(event) => event.target === dialog.current && dialog.current.close()}>
      {sample !== null && (
        <div>
          <img src={picture(dataset, sample.index)} alt={sample.caption ?? sample.label ?? sample.name} />
          <p>
            <b>{sample.label ?? sample.name}</b> <span className="muted">sample {sample.index}</span>
            {sample.caption && <> · {sample.caption}</>}
          </p>
          <p className="actions">
            <Link className="button" to={predictPath(dataset, sample.index)}>
              Why this prediction?
            </Link>
            <button type="button" className="button" onClick={() => dialog.current?.close()}>
              Close
            </button>
          </p>
          <Queries dataset={dataset} sample={sample.index} />
        </div>
      )}
    </dialog>
  );
}

/** Searches with this picture: by its number in snapshots of the same dataset, as a picture in all others. */
function Queries({ dataset, sample }: { dataset: string; sample: number }) {
  const { items, query } = useListing("/v1/snapshots");
  const [problem, setProblem] = useState<unknown>(null);
  const navigate = useNavigate();
  const carry = async (snapshot: Snapshot) => {
    const answer = await fetch(picture(dataset, sample));
    const held = await answer.blob();
    const key = await keepPicture(new File([held], `sample ${sample}`, { type: held.type }));
    navigate(`${snapshotPath(snapshot.name)}?${new URLSearchParams({ picture: key })}`);
  };
  if (query.isPending) return <Loading what="snapshots" />;
  return (
    <div>
      <p className="muted small">{items.length === 0 ? "No snapshot to search yet." : `Search ${plural(items.length, "snapshot")} with this picture:`}</p>
      <ul className="chips">
        {items.map((snapshot) => (
          <li key={snapshot.id}>
            {snapshot.dataset.id === dataset ? (
              <Link className="chip" to={`${snapshotPath(snapshot.name)}?sample=${sample}`}>
                {snapshot.name}
              </Link>
            ) : (
              <button type="button" className="chip" onClick={() => carry(snapshot).catch(setProblem)}>
                {snapshot.name}
              </button>
            )}
          </li>
        ))}
      </ul>
      {problem !== null && <Refusal problem={problem} />}
    </div>
  );
}
