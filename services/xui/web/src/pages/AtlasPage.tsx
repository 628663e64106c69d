import { useState } from "react";
import { Link, useParams } from "react-router";
import { api, ask, type Atlas, type AtlasLabel } from "../api/client";
import { count, figure, percent, words } from "../format";
import { useAddress } from "../parts/address";
import { ofText, TIERS, useAtlas, useAtlasLabels, useSae } from "../parts/atlases";
import { Fact } from "../parts/Fact";
import { Pick } from "../parts/fields";
import { LatentPanel } from "../parts/LatentPanel";
import { LineageLink } from "../parts/LineageLink";
import { MoreButton } from "../parts/listing";
import { ReadText } from "../parts/ReadText";
import { Loading, Refusal } from "../parts/states";
import { Tier, TierBar } from "../parts/TierBar";
import { useTitle } from "../parts/title";
import "../styles/atlas.css";

/** An atlas: its latents by label, what each fires on, and texts read through it. */
export function AtlasPage() {
  const { atlas: id = "" } = useParams();
  const found = useAtlas(id);
  useTitle(found.data?.name ?? "Atlas");
  return (
    <main className="page">
      <p className="crumbs">
        <Link to="/atlases">Atlases</Link> / {found.data?.name ?? id}
      </p>
      {found.isPending && <Loading what="the atlas" />}
      {found.isError && <Refusal problem={found.error} retry={() => void found.refetch()} />}
      {found.data && <Shown atlas={found.data} />}
    </main>
  );
}

function Shown({ atlas }: { atlas: Atlas }) {
  const [search, setSearch] = useAddress();
  const labels = useAtlasLabels(atlas.id);
  const sae = useSae(atlas.sae);
  const chosen = /^\d{1,7}$/.test(search.get("latent") ?? "") ? Number(search.get("latent")) : null;
  const choose = (latent: number | null) =>
    setSearch((now) => {
      if (latent === null) now.delete("latent");
      else now.set("latent", String(latent));
      return now;
    });
  const quality = sae.data?.quality;
  return (
    <>
      <h1>{atlas.name}</h1>
      <dl className="facts">
        <Fact name="Layer" value={<span className="mono">{atlas.layer}</span>} />
        <Fact name="Latents" value={count(atlas.latents)} />
        <Fact name="Detection AUROC, median" value={figure(atlas.auroc)} />
        <Fact name="The same labels on other latents" value={figure(atlas.shuffled)} />
        {quality && <Fact name="Explained variance, held out" value={percent(quality.explained)} />}
        {quality && <Fact name={ofText(atlas) ? "Active a token" : "Active a picture"} value={figure(quality.active, 1)} />}
        {quality?.recovered != null && <Fact name="Cross-entropy recovered" value={percent(quality.recovered)} />}
      </dl>
      <TierBar tiers={atlas.tiers} />
      <p className="small">
        <LineageLink of={atlas.lineage} />
      </p>
      <div className="withside explained">
        <div className="mainside">
          {ofText(atlas) && (
            <ReadText
              of={atlas.id}
              first="The eigenvalues of a symmetric matrix are real numbers."
              read={(body, signal) => ask(api.POST("/v1/atlases/{atlas}/read", { params: { path: { atlas: atlas.id } }, body, signal }))}
            />
          )}
          {labels.isPending && <Loading what="the labels" />}
          {labels.isError && <Refusal problem={labels.error} retry={() => void labels.refetch()} />}
          {labels.data && <Labels labels={labels.data.items} chosen={chosen} choose={choose} />}
        </div>
        <aside aria-label="One latent">
          {chosen === null ? (
            <p className="notice">Take a latent from the table to see where it fires.</p>
          ) : (
            <LatentPanel key={chosen} atlas={atlas} latent={chosen} label={labels.data?.items.find((each) => each.latent === chosen)} close={() => choose(null)} />
          )}
        </aside>
      </div>
    </>
  );
}

const PAGE = 50;
const ANY = "any";

function Labels({ labels, chosen, choose }: { labels: AtlasLabel[]; chosen: number | null; choose: (latent: number) => void }) {
  const [search, setSearch] = useAddress();
  const [wanted, tier] = [search.get("q") ?? "", search.get("tier") ?? ANY];
  const [shown, setShown] = useState(PAGE);
  const set = (name: "q" | "tier", value: string) => {
    setShown(PAGE);
    setSearch(
      (now) => {
        if (value === "" || value === ANY) now.delete(name);
        else now.set(name, value);
        return now;
      },
      { replace: true },
    );
  };
  const among = labels.filter((each) => (tier === ANY || each.tier === tier) && (each.text.toLowerCase().includes(wanted.trim().toLowerCase()) || String(each.latent) === wanted.trim()));
  const present = [ANY, ...Object.keys(TIERS).filter((name) => labels.some((each) => each.tier === name))];
  return (
    <section aria-labelledby="labels-title">
      <h2 id="labels-title">Latents</h2>
      <div className="pickrow">
        <label>
          Find by label or number
          <input type="search" value={wanted} maxLength={200} onChange={(event) => set("q", event.target.value)} />
        </label>
        <Pick label="Trust" value={tier} among={present} show={(name) => (name === ANY ? "any" : (TIERS[name as keyof typeof TIERS]?.name ?? name))} change={(name) => set("tier", name)} />
      </div>
      <p className="small muted" role="status">
        {count(among.length)} of {count(labels.length)}
      </p>
      {among.length > 0 && (
        <div className="table-wrap">
          <table>
            <thead>
              <tr>
                <th scope="col">Label</th>
                <th scope="col" className="right">
                  Latent
                </th>
                <th scope="col">Trust</th>
                <th scope="col" className="right">
                  AUROC
                </th>
                <th scope="col" className="right">
                  Fires on
                </th>
                <th scope="col">From</th>
              </tr>
            </thead>
            <tbody>
              {among.slice(0, shown).map((each) => (
                <tr key={each.latent} aria-selected={each.latent === chosen}>
                  <th scope="row">
                    <button type="button" className="button linklike" aria-pressed={each.latent === chosen} onClick={() => choose(each.latent)}>
                      {each.text}
                    </button>
                  </th>
                  <td className="right num">{each.latent}</td>
                  <td>
                    <Tier name={each.tier} />
                  </td>
                  <td className="right num">{figure(each.auroc)}</td>
                  <td className="right num">{percent(each.density)}</td>
                  <td>{each.method ? words(each.method) : "names"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {among.length > shown && <MoreButton load={() => setShown(shown + 4 * PAGE)} busy={false} />}
    </section>
  );
}
