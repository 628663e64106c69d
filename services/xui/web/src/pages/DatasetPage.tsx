import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useParams } from "react-router";
import { api, ask, type Sample, thumbnail } from "../api/client";
import { count, moment, plural, shortHash } from "../format";
import { Fact } from "../parts/Fact";
import { LineageLink } from "../parts/LineageLink";
import { MoreButton } from "../parts/listing";
import { SampleDialog } from "../parts/SampleDialog";
import { Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";

export function DatasetPage() {
  const { dataset: id = "" } = useParams();
  const dataset = useQuery({
    queryKey: ["dataset", id],
    queryFn: ({ signal }) => ask(api.GET("/v1/datasets/{dataset}", { params: { path: { dataset: id } }, signal })),
  });
  useTitle(dataset.data?.ref.name ?? "Dataset");
  return (
    <main className="page">
      <p className="crumbs">
        <Link to="/datasets">Datasets</Link> / {dataset.data?.ref.name ?? id}
      </p>
      {dataset.isPending && <Loading what="the dataset" />}
      {dataset.isError && <Refusal problem={dataset.error} retry={() => void dataset.refetch()} />}
      {dataset.data && (
        <>
          <h1>{dataset.data.ref.name}</h1>
          <dl className="facts spaced">
            <Fact name="Pictures" value={count(dataset.data.ref.n)} />
            <Fact name="Labels" value={count(dataset.data.labels.length)} />
            <Fact name="Captions" value={count(dataset.data.n_captions)} />
            <Fact name="Source photos" value={count(dataset.data.n_groups)} />
            <Fact name="Duplicates" value={count(dataset.data.n_duplicates)} />
            <Fact name="Source" value={dataset.data.source} />
            <Fact name="Created" value={moment(dataset.data.created_at)} />
            <Fact name="Lineage" value={<LineageLink of={dataset.data.lineage} what={shortHash(dataset.data.lineage)} />} />
          </dl>
          <Rejected id={id} n={dataset.data.n_rejected} />
          <Samples id={dataset.data.ref.id} />
        </>
      )}
    </main>
  );
}

const PAGE = 96;

function Samples({ id }: { id: string }) {
  const [shown, setShown] = useState<Sample | null>(null);
  const samples = useInfiniteQuery({
    queryKey: ["samples", id],
    queryFn: ({ pageParam, signal }) =>
      ask(
        api.GET("/v1/datasets/{dataset}/samples", {
          params: { path: { dataset: id }, query: { limit: PAGE, cursor: pageParam } },
          signal,
        }),
      ),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    staleTime: Infinity,
  });
  return (
    <section className="panel spaced" aria-labelledby="samples-title">
      <h2 id="samples-title">Pictures</h2>
      {samples.isPending && <Loading what="pictures" />}
      {samples.isError && <Refusal problem={samples.error} retry={() => void samples.refetch()} />}
      <ol className="gallery">
        {samples.data?.pages
          .flatMap((page) => page.items)
          .map((sample) => (
            <li key={sample.index}>
              <button type="button" className="bare" onClick={() => setShown(sample)}>
                <figure className="thumb open" title={sample.caption ?? sample.name}>
                  <img src={thumbnail(id, sample.index)} alt={sample.caption ?? sample.label ?? sample.name} loading="lazy" />
                  <figcaption>
                    <span className="label">{sample.label ?? sample.name}</span>
                    <span className="num">
                      {sample.index}
                      {sample.duplicate_of !== null && ` = ${sample.duplicate_of}`}
                    </span>
                  </figcaption>
                </figure>
              </button>
            </li>
          ))}
      </ol>
      <SampleDialog dataset={id} sample={shown} close={() => setShown(null)} />
      {samples.hasNextPage && <MoreButton load={() => void samples.fetchNextPage()} busy={samples.isFetchingNextPage} />}
    </section>
  );
}

function Rejected({ id, n }: { id: string; n: number }) {
  const rejected = useQuery({
    queryKey: ["rejected", id],
    queryFn: ({ signal }) =>
      ask(api.GET("/v1/datasets/{dataset}/rejected", { params: { path: { dataset: id }, query: { limit: 200 } }, signal })),
    enabled: n > 0,
    staleTime: Infinity,
  });
  if (n === 0) return null;
  return (
    <details className="panel spaced">
      <summary>{plural(n, "file was", "files were")} rejected</summary>
      {rejected.isError && <Refusal problem={rejected.error} />}
      <table className="spaced">
        <thead>
          <tr>
            <th scope="col">File</th>
            <th scope="col">Reason</th>
            <th scope="col">Detail</th>
          </tr>
        </thead>
        <tbody>
          {rejected.data?.items.map((file) => (
            <tr key={file.name}>
              <th scope="row" className="mono">
                {file.name}
              </th>
              <td>{file.reason}</td>
              <td>{file.detail}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {rejected.data && rejected.data.items.length < n && (
        <p className="muted small">
          The first {count(rejected.data.items.length)}; <code>xsys dataset rejected</code> lists them all.
        </p>
      )}
    </details>
  );
}
