import type { Component } from "../api/client";
import { activation, count, figure } from "../format";

/** A component's figures, each with what it means in plain words. */
export function Metrics({ component }: { component: Component }) {
  return (
    <dl className="metrics">
      <Metric name="Clarity" value={figure(component.clarity)} z={component.clarity_z}>
        How alike its examples are. 1: all show one thing; z compares with random pictures.
      </Metric>
      <Metric name="Several meanings" value={figure(component.polysemanticity)} z={component.polysemanticity_z}>
        Polysemanticity: the share of its examples' spread that two groups explain; z compares with sets of one topic.
      </Metric>
      <Metric name="Redundancy" value={figure(component.redundancy)}>
        Likeness to the nearest other component of the layer. 1: there is a twin.
      </Metric>
      <Metric name="Examples" value={count(component.n_valid)}>
        Pictures that support these figures
        {component.n_groups !== null && `, from ${count(component.n_groups)} different sources`}.
      </Metric>
      <Metric name="Activation" value={activation(component.maximum)}>
        The highest. Mean {activation(component.mean)}, lowest {activation(component.minimum)}.
      </Metric>
    </dl>
  );
}

interface MetricProps {
  name: string;
  value: string;
  z?: number | null;
  children: React.ReactNode;
}

function Metric({ name, value, z, children }: MetricProps) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className="num">
        {value}
        {z !== null && z !== undefined && <span className="z">z {figure(z, 1)}</span>}
      </dd>
      <dd className="why">{children}</dd>
    </div>
  );
}
