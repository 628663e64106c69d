import { useInfiniteQuery } from "@tanstack/react-query";
import { type ReactNode, useCallback, useRef, useState } from "react";
import { api, ask, type Dataset, thumbnail } from "../api/client";
import { count } from "../format";
import { MoreButton } from "./listing";
import { ACCEPTED, keepPicture, useDroppedPictures } from "./pictures";
import { Empty, Loading, Refusal } from "./states";

interface Props {
  datasets: Dataset[];
  more: ReactNode;
  dataset: string | null;
  sample: number | null;
  chooseDataset: (dataset: string) => void;
  chooseSample: (dataset: string, sample: number) => void;
  choosePicture: (key: string) => void;
}

/** A picture from a dataset, or one from this machine: chosen, dropped or pasted. */
export function PicturePicker({ datasets, more, dataset, sample, chooseDataset, chooseSample, choosePicture }: Props) {
  const chosen = datasets.find((each) => each.ref.id === dataset || each.ref.name === dataset) ?? datasets[0];
  return (
    <>
      <div className="pickrow">
        {chosen && (
          <label>
            Dataset{" "}
            <select value={chosen.ref.id} onChange={(event) => chooseDataset(event.target.value)}>
              {datasets.map((each) => (
                <option key={each.ref.id} value={each.ref.id}>
                  {each.ref.name} ({count(each.ref.n)})
                </option>
              ))}
            </select>
          </label>
        )}
        {more}
        <Upload choosePicture={choosePicture} />
      </div>
      {chosen ? (
        <Strip dataset={chosen.ref.id} sample={sample} choose={(index) => chooseSample(chosen.ref.id, index)} />
      ) : (
        <Empty title="No dataset yet">
          <p>Upload a picture above, or register a folder of pictures:</p>
          <pre className="command">xsys dataset add PATH --name photos</pre>
        </Empty>
      )}
    </>
  );
}

function Upload({ choosePicture }: Pick<Props, "choosePicture">) {
  const [problem, setProblem] = useState<unknown>(null);
  const [over, setOver] = useState(false);
  const chooser = useRef<HTMLInputElement>(null);
  const take = useCallback(
    (file: File) => {
      setProblem(null);
      keepPicture(file).then(choosePicture, setProblem);
    },
    [choosePicture],
  );
  useDroppedPictures(take, setOver);
  return (
    <>
      <button type="button" className="button" onClick={() => chooser.current?.click()}>
        Upload a picture …
      </button>
      <span className="muted small">or drop or paste one on this page</span>
      <input
        ref={chooser}
        type="file"
        accept={ACCEPTED}
        hidden
        aria-label="Choose a picture"
        onChange={(event) => {
          const file = event.target.files?.[0];
          if (file) take(file);
          event.target.value = "";
        }}
      />
      {problem !== null && <Refusal problem={problem} />}
      {over && <div className="dropzone">Drop a picture to explain it</div>}
    </>
  );
}

const PAGE = 60;

function Strip({ dataset, sample, choose }: { dataset: string; sample: number | null; choose: (index: number) => void }) {
  const samples = useInfiniteQuery({
    queryKey: ["samples", dataset, PAGE],
    queryFn: ({ pageParam, signal }) =>
      ask(
        api.GET("/v1/datasets/{dataset}/samples", {
          params: { path: { dataset }, query: { limit: PAGE, cursor: pageParam } },
          signal,
        }),
      ),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    staleTime: Infinity,
  });
  if (samples.isPending) return <Loading what="pictures" />;
  if (samples.isError) return <Refusal problem={samples.error} retry={() => void samples.refetch()} />;
  return (
    <div className="strip">
      <ol aria-label="Pictures of the dataset">
        {samples.data.pages
          .flatMap((page) => page.items)
          .map((each) => (
            <li key={each.index}>
              <button
                type="button"
                className="pick"
                aria-pressed={each.index === sample}
                title={`${each.label ?? each.name} · ${each.index}`}
                onClick={() => choose(each.index)}
              >
                <img src={thumbnail(dataset, each.index)} alt={`${each.label ?? each.name}, sample ${each.index}`} loading="lazy" />
              </button>
            </li>
          ))}
      </ol>
      {samples.hasNextPage && <MoreButton load={() => void samples.fetchNextPage()} busy={samples.isFetchingNextPage} />}
    </div>
  );
}
