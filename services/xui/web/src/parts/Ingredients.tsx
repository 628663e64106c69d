import type { ReactNode } from "react";
import { Link } from "react-router";
import type { Dataset, Model } from "../api/client";
import { count } from "../format";
import { Pick } from "./fields";
import { MoreButton, useListing } from "./listing";
import { Empty, Loading, Refusal } from "./states";

export interface Held {
  models: Model[];
  datasets: Dataset[];
}

/** The models of pictures and the datasets that a form may take, once they are there; what is missing leads to its page. */
export function Ingredients({ labelled = false, children }: { labelled?: boolean; children: (held: Held) => ReactNode }) {
  const listed = { models: useListing("/v1/models"), datasets: useListing("/v1/datasets") };
  const models = listed.models.items.filter((each) => each.ref.preprocessing);
  const datasets = listed.datasets.items.filter((each) => each.kind === "pictures" && (!labelled || each.labels.length > 1));
  if (listed.models.query.isError) return <Refusal problem={listed.models.query.error} retry={() => void listed.models.query.refetch()} />;
  if (listed.datasets.query.isError) return <Refusal problem={listed.datasets.query.error} retry={() => void listed.datasets.query.refetch()} />;
  if (listed.models.query.isPending || listed.datasets.query.isPending) return <Loading what="models and datasets" />;
  return (
    <>
      {models.length === 0 && <Missing what="model of pictures" at="/models" name="Models" />}
      {datasets.length === 0 && <Missing what={labelled ? "dataset with labels" : "dataset of pictures"} at="/datasets" name="Datasets" />}
      {models.length > 0 && datasets.length > 0 && children({ models, datasets })}
      {listed.models.query.hasNextPage && (
        <MoreButton what="Older models" load={() => void listed.models.query.fetchNextPage()} busy={listed.models.query.isFetchingNextPage} />
      )}
      {listed.datasets.query.hasNextPage && (
        <MoreButton what="Older datasets" load={() => void listed.datasets.query.fetchNextPage()} busy={listed.datasets.query.isFetchingNextPage} />
      )}
    </>
  );
}

function Missing({ what, at, name }: { what: string; at: string; name: string }) {
  return (
    <Empty title={`No ${what} yet`}>
      <p>
        Register one under <Link to={at}>{name}</Link>.
      </p>
    </Empty>
  );
}

export function PickModel({ label, models, value, change }: { label: string; models: Model[]; value: string; change: (id: string) => void }) {
  const names = new Map(models.map((each) => [each.ref.id, each.ref.name]));
  return <Pick label={label} value={value} among={[...names.keys()]} show={(id) => names.get(id) ?? id} change={change} />;
}

export function PickDataset({ label, datasets, value, change }: { label: string; datasets: Dataset[]; value: string; change: (id: string) => void }) {
  const names = new Map(datasets.map((each) => [each.ref.id, `${each.ref.name} (${count(each.ref.n)}, ${each.labels.length} labels)`]));
  return <Pick label={label} value={value} among={[...names.keys()]} show={(id) => names.get(id) ?? id} change={change} />;
}
