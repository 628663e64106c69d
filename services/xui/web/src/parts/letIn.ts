import { useQueryClient } from "@tanstack/react-query";
import { useCallback } from "react";
import { useNavigate } from "react-router";
import { rememberCsrf, type Login } from "../api/client";
import { SESSION } from "../session";

/** What follows any login: its CSRF token is kept, what another one saw is forgotten, and the way goes on. */
export function useLetIn(): (session: Login) => void {
  const navigate = useNavigate();
  const queries = useQueryClient();
  return useCallback(
    (session: Login) => {
      rememberCsrf(session.csrf ?? null);
      queries.clear();
      queries.setQueryData(SESSION, session);
      navigate(sessionStorage.getItem("xsys-from") ?? "/", { replace: true });
      sessionStorage.removeItem("xsys-from");
    },
    [navigate, queries],
  );
}
