import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { useNavigate } from "react-router";
import type { Job } from "../api/client";
import { Refusal } from "./states";

/** A text, with its name above. */
export function TextField({ label, value, change, hint }: { label: string; value: string; change: (value: string) => void; hint?: string }) {
  return (
    <label>
      {label}
      <input required value={value} maxLength={150} placeholder={hint} onChange={(event) => change(event.target.value)} />
    </label>
  );
}

interface NumberProps {
  label: string;
  value: number;
  min: number;
  max: number;
  step?: number | "any";
  change: (value: number) => void;
}

/** A name as the server takes it; the browser says so before anything is sent. */
export function NameField({ label, value, change }: { label: string; value: string; change: (value: string) => void }) {
  return (
    <label>
      {label}
      <input
        required
        value={value}
        maxLength={80}
        pattern="[A-Za-z0-9][A-Za-z0-9._ \-]*"
        title="Letters, digits, dots, underscores, hyphens and spaces; a letter or digit first"
        onChange={(event) => change(event.target.value)}
      />
    </label>
  );
}

/** A number between two others; the browser refuses what lies outside. */
export function NumberField({ label, value, min, max, step = 1, change }: NumberProps) {
  return (
    <label>
      {label}
      <input
        type="number"
        required
        value={Number.isNaN(value) ? "" : value}
        min={min}
        max={max}
        step={step}
        onChange={(event) => change(event.target.valueAsNumber)}
      />
    </label>
  );
}

/** One of several. */
export function Pick<T extends string>({ label, value, among, change, show }: { label: string; value: T; among: readonly T[]; change: (value: T) => void; show?: (value: T) => string }) {
  return (
    <label>
      {label}
      <select required value={value} onChange={(event) => change(event.target.value as T)}>
        {among.length === 0 && <option value="">none there yet</option>}
        {among.map((each) => (
          <option key={each} value={each}>
            {show ? show(each) : each}
          </option>
        ))}
      </select>
    </label>
  );
}

/** A form that begins a job and goes to its page; what the server refuses stands below the button. */
export function JobForm({ button, begin, ready = true, children }: { button: string; begin: () => Promise<Job>; ready?: boolean; children: ReactNode }) {
  const navigate = useNavigate();
  const queries = useQueryClient();
  const asked = useMutation({
    mutationFn: begin,
    onSuccess: (job) => {
      void queries.invalidateQueries({ queryKey: ["/v1/jobs"] });
      navigate(`/jobs/${job.id}`);
    },
  });
  return (
    <form
      className="stacked jobform spaced"
      onSubmit={(event) => {
        event.preventDefault();
        asked.mutate();
      }}
    >
      {children}
      <button type="submit" className="button primary" disabled={!ready || asked.isPending}>
        {asked.isPending ? "Sending …" : button}
      </button>
      {asked.isError && <Refusal problem={asked.error} />}
    </form>
  );
}
