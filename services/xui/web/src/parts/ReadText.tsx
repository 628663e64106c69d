import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import type { TextQuery, TokenReading } from "../api/client";
import { figure } from "../format";
import { useMay } from "../session";
import { useAddress } from "./address";
import { Tier } from "./TierBar";
import { Loading, Refusal } from "./states";
import "../styles/atlas.css";

interface Props {
  /** Of what is read: part of the query's key. */
  of: string;
  read: (query: TextQuery, signal: AbortSignal) => Promise<TokenReading>;
  layer?: string;
  first: string;
}

const SHOWN = 12; // latents beside the text

/** A text is read token by token: which labelled latents are active where. */
export function ReadText({ of, read, layer, first }: Props) {
  const may = useMay("search");
  const [search, setSearch] = useAddress();
  const text = search.get("text") ?? "";
  const [draft, setDraft] = useState(text || first);
  const along = /^\d{1,7}$/.test(search.get("along") ?? "") ? Number(search.get("along")) : null;
  const trusted = search.get("untrusted") !== "1";
  const query = (latents: number[] | null): TextQuery => ({ text, k: 3, layer: layer ?? null, trusted: trusted && latents === null, latents });
  const whole = useQuery({
    queryKey: ["read", of, layer, text, trusted],
    queryFn: ({ signal }) => read(query(null), signal),
    enabled: may && text !== "",
    staleTime: Infinity,
  });
  const one = useQuery({
    queryKey: ["read along", of, layer, text, along],
    queryFn: ({ signal }) => read(query([along ?? 0]), signal),
    enabled: may && text !== "" && along !== null,
    staleTime: Infinity,
  });
  if (!may) return <p className="notice">Texts are read for analysts, auditors and admins.</p>;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setSearch((now) => {
      now.set("text", draft);
      now.delete("along");
      return now;
    });
  };
  const choose = (latent: number | null) =>
    setSearch((now) => {
      if (latent === null) now.delete("along");
      else now.set("along", String(latent));
      return now;
    });
  const shown = along === null ? whole : one;
  return (
    <section className="panel reading" aria-labelledby="read-title" aria-busy={whole.isFetching || one.isFetching}>
      <h2 id="read-title">Read a text</h2>
      <form onSubmit={submit} className="stacked">
        <label>
          Text
          <textarea required rows={2} maxLength={4000} value={draft} onChange={(event) => setDraft(event.target.value)} />
        </label>
        <button type="submit" className="button" disabled={draft.trim() === ""}>
          Read it
        </button>
      </form>
      {text !== "" && whole.isPending && <Loading what="the reading" />}
      {shown.isError && <Refusal problem={shown.error} retry={() => void shown.refetch()} />}
      {shown.data && <Tokens text={text} reading={shown.data} along={along} />}
      {whole.data && (
        <ul className="chips" aria-label="Latents that are active in the text">
          {whole.data.latents.slice(0, SHOWN).map((each) => (
            <li key={each.latent}>
              <button type="button" className="button small" aria-pressed={along === each.latent} onClick={() => choose(along === each.latent ? null : each.latent)}>
                {each.text} <span className="muted num">{each.latent}</span>
              </button>
            </li>
          ))}
          {whole.data.latents.length === 0 && <li className="muted">no latent with a trusted label is active here</li>}
        </ul>
      )}
      {whole.data && (
        <label className="tick">
          <input
            type="checkbox"
            checked={!trusted}
            onChange={(event) => {
              const { checked } = event.target;
              setSearch((now) => {
                if (checked) now.set("untrusted", "1");
                else now.delete("untrusted");
                return now;
              });
            }}
          />{" "}
          Labels that are not trusted too
        </label>
      )}
      {shown.data && <Table reading={shown.data} />}
    </section>
  );
}

/** The text with each token as strongly marked as its strongest shown latent is active. */
function Tokens({ text, reading, along }: { text: string; reading: TokenReading; along: number | null }) {
  const letters = Array.from(text); // positions count characters, not halves of surrogate pairs
  const about = along === null ? "the strongest latent of each token" : (reading.latents[0]?.text ?? `latent ${along}`);
  return (
    <>
      <p className="small muted">
        Marked by {about}, in {reading.layer}
        {reading.carried && `, carried over by ${reading.translator ?? "the chosen map"}`}.
      </p>
      <p className="tokens" aria-label={`The text, marked by ${about}`}>
        {reading.tokens.map((token, i) => {
          const top = token.labels[0];
          const shown = reading.tokens[i - 1]?.stop ?? 0; // tokens of a part of a character have the whole one: it is shown once
          const before = letters.slice(shown, token.start).join("");
          return (
            <span key={i}>
              {before}
              <span
                className={token.kept ? "token" : "token sink"}
                title={token.kept ? token.labels.map((each) => `${each.text}: ${figure(each.value, 2)}`).join("\n") : "a sink, which carries position and no meaning"}
                style={{ backgroundColor: `color-mix(in srgb, var(--accent) ${Math.round(60 * (top?.share ?? 0))}%, transparent)` }}
              >
                {letters.slice(Math.max(shown, token.start), token.stop).join("")}
              </span>
            </span>
          );
        })}
      </p>
    </>
  );
}

function Table({ reading }: { reading: TokenReading }) {
  return (
    <details>
      <summary>Token by token</summary>
      <div className="table-wrap">
        <table>
          <thead>
            <tr>
              <th scope="col">Token</th>
              <th scope="col">Latent</th>
              <th scope="col" className="right">
                Activation
              </th>
              <th scope="col">Trust of the label</th>
            </tr>
          </thead>
          <tbody>
            {reading.tokens.flatMap((token, place) =>
              token.labels.map((each, i) => (
                <tr key={`${place} ${each.latent}`}>
                  <th scope="row">{i === 0 && <code>{token.text}</code>}</th>
                  <td>
                    {each.text} <span className="muted num">{each.latent}</span>
                  </td>
                  <td className="right num">{figure(each.value, 2)}</td>
                  <td>
                    <Tier name={each.tier} />
                  </td>
                </tr>
              )),
            )}
          </tbody>
        </table>
      </div>
    </details>
  );
}
