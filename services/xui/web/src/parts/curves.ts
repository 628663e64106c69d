import { useQueries, useQuery } from "@tanstack/react-query";
import { api, ask, type EpochFigures } from "../api/client";
import type { Series } from "./chart";

export type Measure = Exclude<keyof EpochFigures, "epoch" | "weights">;

/** What a training is watched by; the two of a pair share a chart. */
const MEASURES: { key: Measure; name: string; pair?: Measure; pairName?: string }[] = [
  { key: "accuracy", name: "Accuracy", pair: "validation_accuracy", pairName: "Validation accuracy" },
  { key: "loss", name: "Loss", pair: "validation_loss", pairName: "Validation loss" },
  { key: "feedback_norm", name: "Feedback norm" },
  { key: "learning_rate", name: "Learning rate" },
  { key: "gini", name: "Weight concentration (Gini)" },
  { key: "near_zero", name: "Share of weights near zero" },
  { key: "sign_flips", name: "Share of flipped signs" },
];

/** The measures that these epochs have: older trainings did not measure everything. */
export const measuresOf = (epochs: EpochFigures[]) => MEASURES.filter(({ key }) => epochs.some((epoch) => epoch[key] != null));

export const seriesOf = (name: string, epochs: EpochFigures[], key: Measure): Series => ({
  name,
  points: epochs.flatMap((epoch) => {
    const value = epoch[key];
    return value == null ? [] : [[epoch.epoch + 1, value] as const];
  }),
});

/** Share of the weights by log10 |w|, at the middles of the bins; nothing where the epoch has no histogram. */
export function weightSeries(name: string, epoch: EpochFigures | undefined): Series[] {
  const { edges = [], counts = [] } = epoch?.weights ?? {};
  const total = counts.reduce((sum, n) => sum + n, 0);
  if (total === 0) return [];
  return [{ name, points: counts.map((n, i) => [((edges[i] ?? 0) + (edges[i + 1] ?? 0)) / 2, n / total] as const) }];
}

export const WEIGHTS = { title: "How large the weights are", across: "log10 |w|, share of the weights" };

const curveQuery = (job: string, every: number | false) => ({
  queryKey: ["curve", job],
  queryFn: ({ signal }: { signal: AbortSignal }) => ask(api.GET("/v1/jobs/{job}/curve", { params: { path: { job } }, signal })),
  refetchInterval: every,
});

export const useCurve = (job: string, every: number | false) => useQuery(curveQuery(job, every));

export const useCurves = (jobs: string[], every: number | false) => useQueries({ queries: jobs.map((job) => curveQuery(job, every)) });

const COLUMNS: Measure[] = MEASURES.flatMap((each) => (each.pair ? [each.key, each.pair] : [each.key]));

/** A header, then a row an epoch and run. */
export function curveRows(runs: { name: string; epochs: EpochFigures[] }[]): (string | number)[][] {
  const rows = runs.flatMap((run) => run.epochs.map((epoch) => [run.name, epoch.epoch + 1, ...COLUMNS.map((key) => epoch[key] ?? "")]));
  return [["run", "epoch", ...COLUMNS], ...rows];
}
