import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { type Answer, api, ask, type Atlas, type AtlasLabel, type SaeLatent, thumbnail } from "../api/client";
import { activation, figure, percent } from "../format";
import { useMay } from "../session";
import { Tier } from "./TierBar";
import { Loading, Refusal } from "./states";

/** One latent of an atlas: its label and how it was judged, where it fires, what it writes. */
export function LatentPanel({ atlas, label, latent, close }: { atlas: Atlas; label: AtlasLabel | undefined; latent: number; close: () => void }) {
  const maySteer = useMay("steer");
  const found = useQuery({
    queryKey: ["latent", atlas.sae, latent],
    queryFn: ({ signal }) => ask(api.GET("/v1/saes/{sae}/latents/{latent}", { params: { path: { sae: atlas.sae, latent } }, signal }) as Promise<Answer<SaeLatent>>),
    staleTime: Infinity,
  });
  return (
    <section className="panel latent" aria-labelledby="latent-title" aria-busy={found.isFetching}>
      <header className="panelhead">
        <h2 id="latent-title">{label?.text ?? `Latent ${latent}`}</h2>
        <button type="button" className="button quiet small" onClick={close} aria-label="Close the latent">
          <span aria-hidden="true">×</span>
        </button>
      </header>
      <p className="small">
        <span className="muted">latent</span> <span className="num">{latent}</span>
        {label && (
          <>
            {" "}
            · <Tier name={label.tier} /> · AUROC <span className="num">{figure(label.auroc)}</span>
            {label.low != null && label.high != null && (
              <span className="muted num">
                {" "}
                ({figure(label.low)} to {figure(label.high)})
              </span>
            )}
            {label.method && ` · from ${label.method}`}
          </>
        )}
      </p>
      {found.isPending && <Loading what="the latent" />}
      {found.isError && <Refusal problem={found.error} retry={() => void found.refetch()} />}
      {found.data && <Evidence found={found.data} dataset={atlas.dataset} />}
      {maySteer && atlas.capture && label && (
        <p>
          <Link className="button small" to={`/steer/text?${new URLSearchParams({ model: atlas.model, of: `atlas:${atlas.id}`, concept: label.text })}`}>
            Steer a text toward it
          </Link>
        </p>
      )}
    </section>
  );
}

const FEW = 6;

function Evidence({ found, dataset }: { found: SaeLatent; dataset: string }) {
  const [whole, setWhole] = useState(false);
  return (
    <>
      <p className="small">
        fires on <span className="num">{percent(found.density)}</span>, at most <span className="num">{activation(found.maximum)}</span>
        {found.state !== "ok" && ` · ${found.state.replaceAll("_", " ")}`}
      </p>
      {found.tokens.length > 0 && (
        <p className="small">
          <span className="muted">on the tokens</span> {found.tokens.map((each) => `“${each.token.trim()}” ${percent(each.share)}`).join(", ")}
        </p>
      )}
      {found.raises.length > 0 && (
        <p className="small">
          <span className="muted">makes likelier</span> {found.raises.slice(0, 10).map(quoted).join(" ")}
          <br />
          <span className="muted">and less likely</span> {found.lowers.slice(0, 10).map(quoted).join(" ")}
        </p>
      )}
      <ol className="windows" aria-label="Where it fires most">
        {found.examples.slice(0, whole ? undefined : FEW).map((each) => (
          <li key={each.sample}>
            {each.text == null ? <img src={thumbnail(dataset, each.sample)} alt={each.label ?? `sample ${each.sample}`} loading="lazy" width="96" height="96" /> : <Window text={each.text} span={each.span ?? null} />}
            <span className="small muted num">
              {activation(each.value)}
              {each.held_out && " · held out"}
            </span>
          </li>
        ))}
      </ol>
      {found.examples.length > FEW && (
        <button type="button" className="button quiet small" aria-expanded={whole} onClick={() => setWhole(!whole)}>
          {whole ? "Show fewer" : `Show all ${found.examples.length}`}
        </button>
      )}
    </>
  );
}

const quoted = (token: string) => `“${token.trim() || token}”`;

const AROUND = 90;

/** The part of a window around the token on which the latent is strongest. */
function Window({ text, span }: { text: string; span: [number, number] | null }) {
  const letters = Array.from(text);
  if (span === null) return <q>{letters.slice(0, 2 * AROUND).join("")}</q>;
  const [start, stop] = span;
  const [from, to] = [Math.max(0, start - AROUND), Math.min(letters.length, stop + AROUND)];
  return (
    <q>
      {from > 0 && "…"}
      {letters.slice(from, start).join("")}
      <mark>{letters.slice(start, stop).join("")}</mark>
      {letters.slice(stop, to).join("")}
      {to < letters.length && "…"}
    </q>
  );
}
