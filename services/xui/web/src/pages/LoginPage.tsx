import { useMutation } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { useLocation } from "react-router";
import { api, ask } from "../api/client";
import { useLetIn } from "../parts/letIn";
import { Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";

/** Exchange the secret behind `#` for a cookie. The secret leaves the address bar before anything else happens. */
export function LoginPage() {
  useTitle("Log in");
  const letIn = useLetIn();
  const state = useLocation().state as { from?: string; ended?: boolean } | null;
  const started = useRef(false);
  const login = useMutation({
    mutationFn: (link: string) => ask(api.POST("/v1/login", { body: { link } })),
    onSuccess: letIn,
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
          <ByPassword />
          <p className="muted">Or make a one-time link on the machine that serves this page, and open it here:</p>
          <pre className="command">xsys login-link</pre>
        </>
      )}
    </main>
  );
}

function ByPassword() {
  const letIn = useLetIn();
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const login = useMutation({
    mutationFn: () => ask(api.POST("/v1/login/password", { body: { name, password } })),
    onSuccess: letIn,
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        login.mutate();
      }}
    >
      <label>
        Name
        <input required type="text" autoComplete="username" value={name} onChange={(event) => setName(event.target.value)} />
      </label>
      <label>
        Password
        <input
          required
          type="password"
          autoComplete="current-password"
          value={password}
          onChange={(event) => setPassword(event.target.value)}
        />
      </label>
      <button type="submit" className="button primary" disabled={login.isPending}>
        Log in
      </button>
      {login.isError && <Refusal problem={login.error} />}
    </form>
  );
}
