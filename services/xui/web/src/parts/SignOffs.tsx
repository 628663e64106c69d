import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, ask, type Audit } from "../api/client";
import { moment } from "../format";
import { useMay } from "../session";
import { Refusal } from "./states";

/** What people decided about an audit; decisions are added and never changed. */
export function SignOffs({ audit }: { audit: Audit }) {
  const may = useMay("sign-off");
  const [note, setNote] = useState("");
  const queries = useQueryClient();
  const sign = useMutation({
    mutationFn: (verdict: "accepted" | "rejected") =>
      ask(api.POST("/v1/audits/{audit}/sign-offs", { params: { path: { audit: audit.id } }, body: { verdict, note } })),
    onSuccess: () => {
      setNote("");
      void queries.invalidateQueries({ queryKey: ["audit", audit.id] });
      void queries.invalidateQueries({ queryKey: ["/v1/audits"] });
    },
  });
  const signed = audit.sign_offs ?? [];
  return (
    <section className="panel" aria-labelledby="sign-title">
      <h2 id="sign-title">Sign-off</h2>
      {signed.length === 0 && <p className="muted">Nobody has decided about this audit yet.</p>}
      <ol className="signed" aria-label="Decisions">
        {signed.map((each) => (
          <li key={each.number}>
            <p>
              <span className={`badge ${each.verdict === "accepted" ? "done" : "failed"}`}>{each.verdict}</span> by <b>{each.user}</b>
            </p>
            <p className="muted small">{moment(each.signed_at)}</p>
            {each.note && <p className="small">{each.note}</p>}
          </li>
        ))}
      </ol>
      {may ? (
        <div className="signform">
          <label htmlFor="sign-note">Note</label>
          <textarea id="sign-note" rows={3} maxLength={4000} value={note} onChange={(event) => setNote(event.target.value)} />
          <p className="actions">
            <button type="button" className="button primary" disabled={sign.isPending} onClick={() => sign.mutate("accepted")}>
              Accept
            </button>
            <button type="button" className="button" disabled={sign.isPending} onClick={() => sign.mutate("rejected")}>
              Reject
            </button>
          </p>
        </div>
      ) : (
        <p className="muted small">Your role may look but not sign; an auditor or administrator can.</p>
      )}
      {sign.isError && <Refusal problem={sign.error} />}
    </section>
  );
}
