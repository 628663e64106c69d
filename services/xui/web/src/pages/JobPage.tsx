import { useMutation, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense } from "react";
import { Link, useParams } from "react-router";
import { api, ask, type Job, type Stage } from "../api/client";
import { count, duration, figure, moment, words } from "../format";
import { Bar, StateBadge } from "../parts/Bar";
import { Fact } from "../parts/Fact";
import { hasEnded, resultPath, useJob } from "../parts/jobs";
import { Loading, Prose, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import { useMay } from "../session";

const SteeringTables = lazy(async () => ({ default: (await import("../parts/SteeringTables")).SteeringTables }));
const EvaluationTables = lazy(async () => ({ default: (await import("../parts/EvaluationTables")).EvaluationTables }));
const PruningCurve = lazy(async () => ({ default: (await import("../parts/PruningCurve")).PruningCurve }));
const TrainingCurve = lazy(async () => ({ default: (await import("../parts/TrainingCurve")).TrainingCurve }));

export function JobPage() {
  const { job: id = "" } = useParams();
  const job = useJob(id);
  useTitle(job.data ? `${job.data.state}: ${job.data.title}` : "Job");
  return (
    <main className="page">
      <p className="crumbs">
        <Link to="/jobs">Jobs</Link> / <span className="mono">{id}</span>
      </p>
      {job.isPending && <Loading what="the job" />}
      {job.isError && <Refusal problem={job.error} retry={() => void job.refetch()} />}
      {job.data && <Detail job={job.data} />}
    </main>
  );
}

function Detail({ job }: { job: Job }) {
  const begun = job.started_at ? new Date(job.started_at).getTime() : null;
  const took = begun !== null && job.ended_at ? (new Date(job.ended_at).getTime() - begun) / 1000 : null;
  return (
    <>
      <div className="titlerow">
        <h1>{job.title}</h1>
        <Actions job={job} />
      </div>
      <p className="lead" role="status" aria-live="polite">
        <StateBadge state={job.state} />
        {job.cancel_requested && !hasEnded(job) && " stopping at the next batch"}
      </p>
      <dl className="facts spaced">
        <Fact name="Begun by" value={job.created_by} />
        <Fact name="Created" value={moment(job.created_at)} />
        <Fact name="Started" value={moment(job.started_at)} />
        {job.ended_at && <Fact name="Ended" value={moment(job.ended_at)} />}
        {took !== null && <Fact name="Took" value={duration(took)} />}
      </dl>
      {job.failures.map((failure, i) => (
        <section key={i} className="refusal" role="alert">
          <h2>{words(failure.reason)}</h2>
          <p>{failure.detail}</p>
          {failure.remedy && (
            <p>
              <strong>What to do:</strong> <Prose text={failure.remedy} />
            </p>
          )}
          {(failure.where || failure.part) && (
            <p className="muted small">In {[failure.where, failure.part].filter(Boolean).join(", ")}</p>
          )}
        </section>
      ))}
      <ol className="stages" aria-label="Stages">
        {job.stages.map((stage) => (
          <StageRow key={stage.name} stage={stage} />
        ))}
      </ol>
      {job.kind === "attribution-evaluation" && (
        <Suspense fallback={<Loading what="the figures" />}>
          <EvaluationTables job={job} />
        </Suspense>
      )}
      {job.kind === "steering-evaluation" && (
        <Suspense fallback={<Loading what="the figures" />}>
          <SteeringTables job={job} />
        </Suspense>
      )}
      {job.kind === "pruning" && (
        <Suspense fallback={<Loading what="the curve" />}>
          <PruningCurve job={job} />
        </Suspense>
      )}
      {(job.kind === "training" || (job.kind === "pruning" && job.stages.some((stage) => stage.name === "train-epoch"))) && (
        <Suspense fallback={<Loading what="the curve" />}>
          <TrainingCurve job={job} />
        </Suspense>
      )}
    </>
  );
}

function StageRow({ stage }: { stage: Stage }) {
  const share = stage.state === "done" ? 1 : stage.total > 0 ? stage.done / stage.total : 0;
  const running = stage.state === "running";
  return (
    <li className="panel stage">
      <h2>{words(stage.name)}</h2>
      <StateBadge state={stage.state} />
      <Bar share={share} label={words(stage.name)} state={stage.state} />
      <p className="num small muted">
        {count(stage.done)} of {count(stage.total)} {stage.unit} · {count(stage.parts_done)} of {count(stage.parts)} parts
        {stage.parts_reused > 0 && `, ${count(stage.parts_reused)} reused`}
        {running && stage.rate != null && ` · ${figure(stage.rate, stage.rate < 10 ? 1 : 0)} ${stage.unit}/s`}
        {running && stage.seconds_left != null && ` · ${duration(stage.seconds_left)} left`}
      </p>
    </li>
  );
}

function Actions({ job }: { job: Job }) {
  const queries = useQueryClient();
  const may = useMay("submit");
  const act = useMutation({
    mutationFn: (what: "cancel" | "retry") => {
      const params = { params: { path: { job: job.id } } };
      return ask(what === "cancel" ? api.POST("/v1/jobs/{job}/cancel", params) : api.POST("/v1/jobs/{job}/retry", params));
    },
    onSuccess: (now) => {
      queries.setQueryData(["job", job.id], now);
      void queries.invalidateQueries({ queryKey: ["/v1/jobs"] });
    },
  });
  const result = resultPath(job);
  return (
    <div className="actions">
      {may && !hasEnded(job) && (
        <button type="button" className="button" disabled={act.isPending || job.cancel_requested} onClick={() => act.mutate("cancel")}>
          Cancel
        </button>
      )}
      {may && (job.state === "failed" || job.state === "cancelled") && (
        <button type="button" className="button primary" disabled={act.isPending} onClick={() => act.mutate("retry")}>
          Retry
        </button>
      )}
      {result !== null && job.state === "done" && (
        <Link className="button primary" to={result}>
          Open the result
        </Link>
      )}
      {act.isError && <Refusal problem={act.error} />}
    </div>
  );
}
