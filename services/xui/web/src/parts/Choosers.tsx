import type { AttributionMethod } from "../api/client";
import { words } from "../format";

interface Props {
  title: string;
  names: string[];
  chosen: string[];
  most: number;
  show?: (name: string) => string;
  describe?: (name: string) => string | undefined;
  change: (names: string[]) => void;
}

/** Tick some of many; at least one stays. */
export function Choices({ title, names, chosen, most, show, describe, change }: Props) {
  const toggle = (name: string) => change(chosen.includes(name) ? chosen.filter((each) => each !== name) : [...chosen, name]);
  return (
    <fieldset className="choices">
      <legend>{title}</legend>
      {names.map((name) => {
        const ticked = chosen.includes(name);
        const fixed = ticked ? chosen.length === 1 : chosen.length >= most;
        return (
          <label key={name} title={describe?.(name)}>
            <input type="checkbox" checked={ticked} disabled={fixed} onChange={() => toggle(name)} /> {show ? show(name) : name}
          </label>
        );
      })}
    </fieldset>
  );
}

export function MethodChoices({ methods, chosen, change }: { methods: AttributionMethod[]; chosen: string[]; change: (names: string[]) => void }) {
  const about = new Map(methods.map((method) => [method.name, `${method.aim}; ${method.passes} passes`]));
  const of = (family: AttributionMethod["family"]) => methods.filter((method) => method.family === family).map((method) => method.name);
  return (
    <details className="panel">
      <summary>Methods ({chosen.length})</summary>
      {(["baseline", "composite"] as const).map((family) => (
        <Choices
          key={family}
          title={family === "baseline" ? "Gradients, attention, occlusion" : "Propagation rules (LRP)"}
          names={of(family)}
          chosen={chosen}
          most={8}
          show={words}
          describe={(name) => about.get(name)}
          change={change}
        />
      ))}
    </details>
  );
}
