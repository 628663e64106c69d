import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { Link, useLocation, useNavigate } from "react-router";
import { api, ask } from "../api/client";
import { sessionPath } from "../parts/SessionBar";
import { Empty, Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";

/** A share link was opened: its secret stands behind `#`, where no server log sees it. */
export function JoinPage() {
  useTitle("Join an analysis session");
  const { hash } = useLocation();
  const navigate = useNavigate();
  const queries = useQueryClient();
  const link = decodeURIComponent(hash.slice(1));
  const asked = useRef("");
  const join = useMutation({
    mutationFn: () => ask(api.POST("/v1/sessions/join", { body: { link } })),
    onSuccess: (session) => {
      void queries.invalidateQueries({ queryKey: ["/v1/sessions"] });
      navigate(sessionPath(session.id), { replace: true });
    },
  });
  useEffect(() => {
    if (link === "" || asked.current === link) return;
    asked.current = link;
    join.mutate();
  }, [link, join]);
  return (
    <main className="page">
      <h1>Join an analysis session</h1>
      {link === "" && (
        <Empty title="This address has no link in it">
          <p>
            Open the whole link that you were given, or go to your <Link to="/sessions">sessions</Link>.
          </p>
        </Empty>
      )}
      {join.isPending && <Loading what="the analysis session" />}
      {join.isError && <Refusal problem={join.error} />}
    </main>
  );
}
