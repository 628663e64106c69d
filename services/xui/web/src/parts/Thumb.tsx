import { type Example, thumbnail } from "../api/client";
import { activation } from "../format";

/** An example picture; its label and activation show on hover, or always with `open`. */
export function Thumb({ dataset, example, open = false }: { dataset: string; example: Example; open?: boolean }) {
  const label = example.label ?? `sample ${example.sample}`;
  const value = activation(example.activation);
  return (
    <figure className={open ? "thumb open" : "thumb"} title={`${label} · activation ${value}`}>
      <img src={thumbnail(dataset, example.sample)} alt={label} loading="lazy" decoding="async" width="160" height="160" />
      <figcaption>
        <span className="num">{value}</span>
        <span className="label">{label}</span>
      </figcaption>
    </figure>
  );
}
