import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect } from "react";
import { Navigate, useLocation, useNavigate } from "react-router";
import { api, ask, type Login, rememberCsrf, whenLoggedOut } from "./api/client";
import { asProblem } from "./api/problem";
import { Loading, Refusal } from "./parts/states";

const SessionContext = createContext<Login | null>(null);
export const SESSION = ["session"] as const;

/** Who is logged in; only below `RequireLogin`. */
export function useSession(): Login {
  const session = useContext(SessionContext);
  if (session === null) throw new Error("useSession outside RequireLogin");
  return session;
}

export const useMay = (right: string): boolean => (useSession().identity.rights as string[]).includes(right);

/** Show the pages to those who are logged in; everyone else is sent to /login. */
export function RequireLogin({ children }: { children: ReactNode }) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const { pathname, search, hash } = useLocation();
  const session = useQuery({
    queryKey: SESSION,
    queryFn: async () => {
      const login = await ask(api.GET("/v1/session"));
      rememberCsrf(login.csrf);
      return login;
    },
    staleTime: Infinity,
    retry: false,
  });
  useEffect(() => {
    whenLoggedOut(() => {
      rememberCsrf(null);
      queries.removeQueries({ queryKey: SESSION });
      navigate("/login", { state: { ended: true, from: window.location.pathname + window.location.search + window.location.hash } });
    });
    return () => whenLoggedOut(() => undefined);
  }, [navigate, queries]);
  if (session.isPending) return <Loading what="your session" />;
  if (session.isError) {
    const problem = asProblem(session.error);
    if (problem.status === 401) return <Navigate to="/login" replace state={{ from: pathname + search + hash }} />;
    return (
      <main className="page">
        <Refusal problem={problem} retry={() => void session.refetch()} />
      </main>
    );
  }
  return <SessionContext value={session.data}>{children}</SessionContext>;
}
