import { useEffect, useRef } from "react";
import type { SearchHits, SearchQuery, SessionAction } from "../api/client";
import { sendAction, useAnalysis } from "./analysis";

const RECORDED = 20;

/** Record a search in the analysis session that is open, once, where the session is on the same snapshot. */
export function useRecordedSearch(snapshot: string, body: SearchQuery | null, answer: SearchHits | undefined): void {
  const { id, session, mayEdit } = useAnalysis();
  const last = useRef("");
  const here = mayEdit && session?.state.snapshot === snapshot ? id : null;
  useEffect(() => {
    if (here === null || body === null || answer === undefined) return;
    const key = here + JSON.stringify(body);
    if (last.current === key) return;
    last.current = key;
    void searchAction(body, answer)
      .then((action) => sendAction(here, action))
      .catch(() => (last.current = ""));
  }, [here, body, answer]);
}

/** Record that an audit was looked at, once, in the analysis session that is open. */
export function useRecordedAudit(audit: string | undefined): void {
  const { id, session, mayEdit } = useAnalysis();
  const last = useRef("");
  const known = session?.state.audits?.some((each) => each.audit === audit);
  const here = mayEdit && known === false ? id : null;
  useEffect(() => {
    if (here === null || audit === undefined || last.current === here + audit) return;
    last.current = here + audit;
    void sendAction(here, { kind: "audit", audit }).catch(() => (last.current = ""));
  }, [here, audit]);
}

/** What is kept of a search: pictures by their hash only. */
export async function searchAction(body: SearchQuery, answer: SearchHits): Promise<SessionAction> {
  const terms = body.terms.filter((term) => term.kind !== "picture");
  const pictures: string[] = [];
  for (const term of body.terms) if (term.kind === "picture") pictures.push(await sha256(term.picture));
  return {
    kind: "search",
    query: terms.length === 0 ? null : { ...body, terms },
    pictures,
    hits: answer.hits.slice(0, RECORDED).map((hit) => hit.component),
    lineage: answer.lineage,
  };
}

async function sha256(base64: string): Promise<string> {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
