import { useMutation } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { api, ask } from "../api/client";
import { useLetIn } from "../parts/letIn";
import { Empty, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";

const SHORTEST = 12;

/** Where one-time links of invitations and password resets lead. The secret leaves the address bar at once. */
export function WelcomePage({ invited }: { invited: boolean }) {
  useTitle(invited ? "Invitation" : "New password");
  const letIn = useLetIn();
  const link = useRef(decodeURIComponent(window.location.hash.slice(1)));
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  useEffect(() => history.replaceState(history.state, "", window.location.pathname), []);
  const accept = useMutation({
    mutationFn: () =>
      ask(
        invited
          ? api.POST("/v1/invitations/accept", { body: { link: link.current, name, password } })
          : api.POST("/v1/password-resets/accept", { body: { link: link.current, password } }),
      ),
    onSuccess: letIn,
  });
  return (
    <main className="login">
      <img src="/favicon.svg" alt="" width="44" height="44" />
      <h1>{invited ? "You are invited to xsys" : "Choose a new password"}</h1>
      {link.current === "" ? (
        <Empty title="The link is not whole">
          <p>Open it again as you got it; it works once. After a reload, or if it does not work any more, ask for a new one.</p>
        </Empty>
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            accept.mutate();
          }}
        >
          {invited && (
            <label>
              Your name
              <input required type="text" maxLength={80} autoComplete="username" value={name} onChange={(event) => setName(event.target.value)} />
            </label>
          )}
          <label>
            Password, {SHORTEST} characters or more
            <input
              required
              type="password"
              minLength={SHORTEST}
              maxLength={200}
              autoComplete="new-password"
              value={password}
              onChange={(event) => setPassword(event.target.value)}
            />
          </label>
          <button type="submit" className="button primary" disabled={accept.isPending}>
            {invited ? "Join" : "Log in with it"}
          </button>
          {accept.isError && <Refusal problem={accept.error} />}
        </form>
      )}
    </main>
  );
}
