import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";
import { api, ask } from "../api/client";
import { useMay } from "../session";
import { Refusal } from "./states";

const USUAL = { target: "prediction", right_only: false, top: 0.02, steps: 16, draws: 0, noise: 0.1, fallback: "error", seed: 0 } as const;

interface Props {
  model: string;
  dataset: string;
  sample: number;
  methods: string[];
}

/** One picture proves little: judge the chosen methods over many of its dataset. */
export function JudgeMethods({ model, dataset, sample, methods }: Props) {
  const navigate = useNavigate();
  const [samples, setSamples] = useState(64);
  const [mask, setMask] = useState("");
  const about = useQuery({
    queryKey: ["sample", dataset, sample],
    queryFn: ({ signal }) => ask(api.GET("/v1/datasets/{dataset}/samples/{index}", { params: { path: { dataset, index: sample } }, signal })),
  });
  const judge = useMutation({
    mutationFn: () => ask(api.POST("/v1/attribution-evaluations", { body: { ...USUAL, model, dataset, methods, samples, mask: mask || null } })),
    onSuccess: (job) => navigate(`/jobs/${job.id}`),
  });
  const masks = about.data?.masks ?? [];
  if (!useMay("submit")) return null;
  return (
    <details className="panel">
      <summary>Judge these methods over the dataset</summary>
      <form
        className="stacked spaced"
        onSubmit={(event) => {
          event.preventDefault();
          judge.mutate();
        }}
      >
        <label>
          Samples <input type="number" min="2" max="2000" value={samples} onChange={(event) => setSamples(Number(event.target.value))} />
        </label>
        {masks.length > 0 && (
          <label>
            Evidence should lie on{" "}
            <select value={mask} onChange={(event) => setMask(event.target.value)}>
              <option value="">not judged</option>
              {masks.map((each) => (
                <option key={each} value={each}>
                  {each}
                </option>
              ))}
            </select>
          </label>
        )}
        <button type="submit" className="button" disabled={judge.isPending}>
          Begin
        </button>
        {judge.isError && <Refusal problem={judge.error} />}
      </form>
    </details>
  );
}
