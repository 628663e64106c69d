import { Link } from "react-router";
import { lineagePath } from "./lineage";

/** The way from a result to what it was computed from. */
export function LineageLink({ of, what = "Where this comes from" }: { of: string; what?: string }) {
  return <Link to={lineagePath(of)}>{what}</Link>;
}
