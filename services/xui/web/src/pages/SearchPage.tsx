import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useCallback, useMemo, useRef } from "react";
import { Link, useParams } from "react-router";
import { api, ask, type Snapshot } from "../api/client";
import { count, figure, plural } from "../format";
import { LayersPanel, Thresholds } from "../parts/LayersPanel";
import { useAddress } from "../parts/address";
import { MoreButton } from "../parts/listing";
import { componentName, componentPath } from "../parts/links";
import { type Asked, readAsked, requestOf, STEP, writeAsked } from "../parts/query";
import { useRecordedSearch } from "../parts/recording";
import { Results } from "../parts/Results";
import { SearchForm } from "../parts/SearchForm";
import { useSnapshot } from "../parts/snapshot";
import { SnapshotHead } from "../parts/SnapshotHead";
import { Empty, Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";

export function SearchPage() {
  const { snapshot: id = "" } = useParams();
  const snapshot = useSnapshot(id);
  useTitle(snapshot.data?.name ?? id);
  return (
    <main className="page">
      {snapshot.isPending && <Loading what="the snapshot" />}
      {snapshot.isError && <Refusal problem={snapshot.error} retry={() => void snapshot.refetch()} />}
      {snapshot.data && <Search snapshot={snapshot.data} at={id} />}
    </main>
  );
}

function Search({ snapshot, at }: { snapshot: Snapshot; at: string }) {
  const [search, setSearch] = useAddress();
  const asked = useMemo(() => readAsked(search), [search]);
  const list = useRef<HTMLOListElement>(null);
  const change = useCallback(
    (part: Partial<Asked>) => setSearch((now) => writeAsked({ ...readAsked(now), k: STEP, ...part })),
    [setSearch],
  );
  const enterResults = () => list.current?.querySelector<HTMLAnchorElement>("a.card")?.focus();
  return (
    <>
      <SnapshotHead snapshot={snapshot} at={at} />
      <div className="withside">
        <div className="mainside">
          <SearchForm asked={asked} readsText={snapshot.encoder.text} change={change} enterResults={enterResults} />
          <Found snapshot={snapshot} at={at} asked={asked} change={change} list={list} />
        </div>
        <aside aria-label="Filters and layers">
          <Thresholds asked={asked} change={change} />
          <LayersPanel layers={snapshot.layers} asked={asked} change={change} />
        </aside>
      </div>
    </>
  );
}

interface FoundProps {
  snapshot: Snapshot;
  at: string;
  asked: Asked;
  change: (part: Partial<Asked>) => void;
  list: React.RefObject<HTMLOListElement | null>;
}

function Found({ snapshot, at, asked, change, list }: FoundProps) {
  const body = requestOf(asked);
  const found = useQuery({
    queryKey: ["search", snapshot.id, asked],
    queryFn: ({ signal }) =>
      ask(api.POST("/v1/snapshots/{snapshot}/search", { params: { path: { snapshot: snapshot.id } }, body: body!, signal })),
    enabled: body !== null,
    staleTime: Infinity,
    placeholderData: keepPreviousData,
  });
  useRecordedSearch(snapshot.id, body, found.isPlaceholderData ? undefined : found.data);
  if (body === null) return <Clearest snapshot={snapshot} at={at} layers={asked.layers} />;
  const hits = found.data?.hits ?? [];
  const stale = found.isFetching && found.data !== undefined;
  return (
    <section aria-labelledby="found-title" aria-busy={found.isFetching}>
      <h2 id="found-title" className="hidden">
        Results
      </h2>
      <p className="resultcount muted" role="status" aria-live="polite">
        {found.isFetching ? "Searching …" : found.isSuccess ? plural(hits.length, "component") : ""}
      </p>
      {found.isError && <Refusal problem={found.error} retry={() => void found.refetch()} />}
      {found.isPending && <Skeleton />}
      {found.isSuccess && !stale && hits.length === 0 && (
        <Empty title="Nothing found">
          <p>No component passes the filters. Lower the thresholds, search all layers, or describe it in other words.</p>
        </Empty>
      )}
      {found.isSuccess && found.data.truncated_texts.length > 0 && (
        <p className="notice">The text is longer than the encoder reads; its end was left out.</p>
      )}
      {found.isSuccess && hits.length > 0 && (
        <div className={stale ? "stale" : undefined}>
          <Results snapshot={snapshot} at={at} hits={hits} list={list} />
        </div>
      )}
      {found.isSuccess && hits.length >= asked.k && (
        <MoreButton load={() => change({ k: asked.k + STEP })} busy={found.isFetching} />
      )}
    </section>
  );
}

function Skeleton() {
  return (
    <div className="cards" aria-hidden="true">
      {Array.from({ length: 6 }, (_, i) => (
        <div key={i} className="card ghost" />
      ))}
    </div>
  );
}

/** Something to look at before anything is searched for. */
function Clearest({ snapshot, at, layers }: { snapshot: Snapshot; at: string; layers: string[] }) {
  const layer = layers.length === 1 ? layers[0] : undefined;
  const listed = useQuery({
    queryKey: ["clearest", snapshot.id, layer ?? null],
    queryFn: ({ signal }) =>
      ask(
        api.GET("/v1/snapshots/{snapshot}/components", {
          params: { path: { snapshot: snapshot.id }, query: { sort: "clarity", limit: 48, layer } },
          signal,
        }),
      ),
  });
  const signed = new Set(snapshot.layers.filter((each) => each.signed).map((each) => each.name));
  return (
    <section className="panel clearest" aria-labelledby="clearest-title">
      <h2 id="clearest-title">Clearest components{layer ? ` of ${layer}` : ""}</h2>
      <p className="muted small">
        Of {count(snapshot.index.n)} searchable components, those whose examples resemble each other most.
      </p>
      {listed.isPending && <Loading what="components" />}
      {listed.isError && <Refusal problem={listed.error} retry={() => void listed.refetch()} />}
      {listed.data && (
        <ul className="chips">
          {listed.data.items.map((component) => (
            <li key={`${component.ref.layer}:${component.ref.index}:${component.ref.sign}`}>
              <Link className="chip" to={componentPath(at, component.ref)}>
                <span>{componentName(component.ref, signed.has(component.ref.layer))}</span>
                <span className="num muted">{figure(component.clarity)}</span>
              </Link>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
