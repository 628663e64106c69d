import { type Crop, type Example, picture, thumbnail } from "../api/client";
import { activation } from "../format";

interface Props {
  dataset: string;
  example: Example;
  open?: boolean;
  crop?: Crop;
}

/** An example picture, or a square of it; its label and what it ranks by show on hover, or always with `open`. */
export function Thumb({ dataset, example, open = false, crop }: Props) {
  const label = example.label ?? `sample ${example.sample}`;
  const ranked = example.relevance ?? null;
  const value = activation(ranked ?? example.activation);
  const told = `activation ${activation(example.activation)}${ranked === null ? "" : `, relevance ${value}`}`;
  return (
    <figure className={open ? "thumb open" : "thumb"} title={`${label} · ${told}`}>
      {crop && !crop.whole ? <Cut dataset={dataset} sample={example.sample} crop={crop} label={label} /> : <img src={thumbnail(dataset, example.sample)} alt={label} loading="lazy" decoding="async" width="160" height="160" />}
      <figcaption>
        <span className="num">{value}</span>
        <span className="label">{label}</span>
      </figcaption>
    </figure>
  );
}

function Cut({ dataset, sample, crop: { box }, label }: { dataset: string; sample: number; crop: Crop; label: string }) {
  const seen = `${box.left} ${box.top} ${box.right - box.left} ${box.bottom - box.top}`;
  return (
    <svg viewBox={seen} role="img" aria-label={`${label}, cut to what the component saw`} preserveAspectRatio="xMidYMid meet">
      <image href={picture(dataset, sample)} />
    </svg>
  );
}
