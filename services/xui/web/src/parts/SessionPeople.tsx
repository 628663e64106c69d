import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate } from "react-router";
import { type AnalysisSession, api, ask } from "../api/client";
import { moment } from "../format";
import { useMay, useSession } from "../session";
import { analysisKey, useAnalysis } from "./analysis";
import { removeMember } from "./SessionBar";
import { Refusal } from "./states";

const MAY: Record<AnalysisSession["access"], string> = { owner: "owns it", edit: "may edit", view: "may look" };

/** Who takes part, who is here, and where they look. */
export function SessionPeople({ session }: { session: AnalysisSession }) {
  const { viewers, leave } = useAnalysis();
  const { identity } = useSession();
  const queries = useQueryClient();
  const navigate = useNavigate();
  const here = new Map(viewers.map((viewer) => [viewer.user, viewer]));
  const remove = useMutation({
    mutationFn: (member: string) => removeMember(session.id, member),
    onSuccess: ({ user }) => {
      void queries.invalidateQueries({ queryKey: ["/v1/sessions"] });
      if (user !== identity.user) return void queries.invalidateQueries({ queryKey: analysisKey(session.id) });
      leave();
      navigate("/sessions");
    },
  });
  return (
    <section className="panel" aria-labelledby="people-title">
      <h2 id="people-title">People</h2>
      <ul className="people" aria-label="Members">
        {session.members.map((member) => {
          const viewer = here.get(member.user);
          const own = member.user === identity.user;
          return (
            <li key={member.user}>
              <span className={`dot ${viewer ? "on" : ""}`} aria-hidden="true" />
              <span>
                <b>{member.name}</b> <span className="muted small">{MAY[member.access]}</span>
                {viewer && (
                  <span className="muted small">
                    {" "}
                    · here{viewer.path && !own && !viewer.path.startsWith("/sessions") && (
                      <>
                        , at <Link to={viewer.path}>{viewer.title || viewer.path}</Link>
                      </>
                    )}
                  </span>
                )}
              </span>
              {member.access !== "owner" && (own || session.access === "owner") && (
                <button type="button" className="button small quiet" disabled={remove.isPending} onClick={() => remove.mutate(member.user)}>
                  {own ? "Give up membership" : `Take ${member.name} out`}
                </button>
              )}
            </li>
          );
        })}
      </ul>
      {remove.isError && <Refusal problem={remove.error} />}
    </section>
  );
}

/** Links that let others in. */
export function SessionShare({ session }: { session: AnalysisSession }) {
  const { mayEdit } = useAnalysis();
  const may = useMay("annotate") && mayEdit;
  const queries = useQueryClient();
  const [access, setAccess] = useState<"view" | "edit">("view");
  const params = { path: { session: session.id } };
  const links = useQuery({
    queryKey: ["analysis-links", session.id],
    queryFn: ({ signal }) => ask(api.GET("/v1/sessions/{session}/links", { params, signal })),
    enabled: may,
  });
  const changed = () => void queries.invalidateQueries({ queryKey: ["analysis-links", session.id] });
  const share = useMutation({
    mutationFn: () => ask(api.POST("/v1/sessions/{session}/links", { params, body: { access, days: 30 } })),
    onSuccess: changed,
  });
  const revoke = useMutation({
    mutationFn: (link: string) => ask(api.DELETE("/v1/sessions/{session}/links/{link}", { params: { path: { session: session.id, link } } })),
    onSuccess: changed,
  });
  if (!may) return null;
  const address = share.data ? window.location.origin + share.data.path : null;
  return (
    <section className="panel" aria-labelledby="share-title">
      <h2 id="share-title">Share</h2>
      <p className="actions">
        <label>
          Whoever opens the link{" "}
          <select value={access} onChange={(event) => setAccess(event.target.value === "edit" ? "edit" : "view")}>
            <option value="view">may look</option>
            <option value="edit">may edit</option>
          </select>
        </label>
        <button type="button" className="button" disabled={share.isPending} onClick={() => share.mutate()}>
          Make a link
        </button>
      </p>
      {address !== null && (
        <p className="sharelink">
          <input type="text" readOnly aria-label="Share link" value={address} onFocus={(event) => event.target.select()} />
          <button type="button" className="button" onClick={() => void navigator.clipboard?.writeText(address)}>
            Copy
          </button>
          <span className="muted small">Shown once. It works for members of this workspace, for 30 days.</span>
        </p>
      )}
      {(share.isError || revoke.isError) && <Refusal problem={share.error ?? revoke.error} />}
      <ul className="people" aria-label="Links in force">
        {links.data?.items.map((link) => (
          <li key={link.id}>
            <span className="small">
              to {link.access === "edit" ? "edit" : "look"}, by {link.created_by}, until {moment(link.expires_at)}
            </span>
            <button type="button" className="button small quiet" disabled={revoke.isPending} onClick={() => revoke.mutate(link.id)}>
              Revoke
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
