import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Suspense } from "react";
import { Link, NavLink, Outlet, useLocation, useNavigate } from "react-router";
import { api, ask, rememberCsrf } from "../api/client";
import { useMay, useSession } from "../session";
import { useTheme } from "../theme";
import { AnalysisProvider } from "./analysis";
import { Boundary } from "./Boundary";
import { HelpDialog } from "./HelpDialog";
import { SessionBar } from "./SessionBar";
import { Loading } from "./states";
import { Tour } from "./Tour";

const PAGES = [
  ["/", "Snapshots"],
  ["/predict", "Predict"],
  ["/steer", "Steer"],
  ["/alignment", "Alignment"],
  ["/atlases", "Atlases"],
  ["/audits", "Audits"],
  ["/sessions", "Sessions"],
  ["/jobs", "Jobs"],
  ["/datasets", "Datasets"],
  ["/models", "Models"],
] as const;

export function Shell() {
  const { identity } = useSession();
  const follows = useMay("audit-log"); // admins and auditors
  const [theme, toggle] = useTheme();
  const navigate = useNavigate();
  const { pathname } = useLocation();
  const queries = useQueryClient();
  const logout = useMutation({
    mutationFn: () => ask(api.POST("/v1/logout")),
    onSettled: () => {
      rememberCsrf(null);
      queries.clear();
      navigate("/login", { replace: true });
    },
  });
  return (
    <AnalysisProvider>
      <a className="skip" href="#content">
        Skip to content
      </a>
      <header className="top">
        <Link to="/" className="brand" aria-label="xsys, start page">
          <img src="/favicon.svg" alt="" width="22" height="22" />
          xsys
        </Link>
        <nav aria-label="Main">
          {(follows ? [...PAGES, ["/members", "Members"] as const] : PAGES).map(([to, name]) => (
            <NavLink key={to} to={to} end={to === "/"}>
              {name}
            </NavLink>
          ))}
        </nav>
        <div className="who">
          <span title={`${identity.role} in ${identity.workspace}`}>
            {identity.name} <span className="muted">{identity.role}</span>
          </span>
          <HelpDialog />
          <button type="button" className="button quiet" onClick={toggle} aria-label={`Use the ${theme === "dark" ? "light" : "dark"} theme`}>
            <span aria-hidden="true">{theme === "dark" ? "☀" : "☾"}</span>
          </button>
          <button type="button" className="button quiet" onClick={() => logout.mutate()} disabled={logout.isPending}>
            Log out
          </button>
        </div>
      </header>
      <div id="content" tabIndex={-1}>
        <Boundary key={pathname}>
          <Suspense fallback={<Loading what="the page" />}>
            <Outlet />
          </Suspense>
        </Boundary>
      </div>
      <SessionBar />
      <Tour />
    </AnalysisProvider>
  );
}
