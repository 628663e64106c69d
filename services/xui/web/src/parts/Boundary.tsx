import { Component, type ReactNode } from "react";
import { asProblem } from "../api/problem";
import { Refusal } from "./states";

/** Shows what broke a page, where there would be a blank one: a script that an update replaced, or a fault of ours. */
export class Boundary extends Component<{ children: ReactNode }, { thrown: unknown }> {
  override state = { thrown: null };

  static getDerivedStateFromError(thrown: unknown) {
    return { thrown };
  }

  override render() {
    if (this.state.thrown === null) return this.props.children;
    return (
      <main className="page">
        <Refusal problem={asProblem(this.state.thrown)} retry={() => window.location.reload()} />
      </main>
    );
  }
}
