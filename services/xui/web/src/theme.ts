import { useSyncExternalStore } from "react";

export type Theme = "light" | "dark";
const KEY = "xsys-theme";
const listeners = new Set<() => void>();

function remembered(): Theme | null {
  const value = localStorage.getItem(KEY);
  return value === "light" || value === "dark" ? value : null;
}

export function currentTheme(): Theme {
  return remembered() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

export function applyTheme(): void {
  document.documentElement.dataset.theme = currentTheme();
}

export function useTheme(): [Theme, () => void] {
  const theme = useSyncExternalStore((changed) => {
    listeners.add(changed);
    return () => listeners.delete(changed);
  }, currentTheme);
  const toggle = () => {
    localStorage.setItem(KEY, theme === "dark" ? "light" : "dark");
    applyTheme();
    for (const changed of listeners) changed();
  };
  return [theme, toggle];
}
