import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { useLocation, useNavigate } from "react-router";
import { api, ask, rememberCsrf } from "../api/client";
import { Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import { SESSION } from "../session";

/** Exchange the secret behind `#` for a cookie. The secret leaves the address bar before anything else happens. */
export function LoginPage() {
  useTitle("Log in");
  const navigate = useNavigate();
  const queries = useQueryClient();
  const state = useLocation().state as { from?: string; ended?: boolean } | null;
  const started = useRef(false);
  const login = useMutation({
    mutationFn: (link: string) => ask(api.POST("/v1/login", { body: { link } })),
    onSuccess: (session) => {
      rememberCsrf(session.csrf);
      queries.clear();
      queries.setQueryData(SESSION, session);
      navigate(sessionStorage.getItem("xsys-from") ?? "/", { replace: true });
      sessionStorage.removeItem("xsys-from");
    },
  });
  const { mutate } = login;
  useEffect(() => {
    if (state?.from) sessionStorage.setItem("xsys-from", state.from);
    const attempt = () => {
      const secret = decodeURIComponent(window.location.hash.slice(1));
      if (secret === "") return;
      history.replaceState(history.state, "", "/login");
      mutate(secret);
    };
    window.addEventListener("hashchange", attempt);
    if (!started.current) attempt(); // links work once, and effects run twice in development
    started.current = true;
    return () => window.removeEventListener("hashchange", attempt);
  }, [mutate, state]);
  return (
    <main className="login">
      <img src="/favicon.svg" alt="" width="44" height="44" />
      <h1>xsys</h1>
      {login.isPending && <Loading what="your session" />}
      {login.isError && <Refusal problem={login.error} />}
      {login.isIdle && (
        <p>{state?.ended ? "Your session has ended. Log in again to go on." : "See what the components of a model respond to."}</p>
      )}
      {!login.isPending && (
        <>
          <p className="muted">Make a one-time link on the machine that serves this page, and open it here:</p>
          <pre className="command">xsys login-link</pre>
        </>
      )}
    </main>
  );
}
