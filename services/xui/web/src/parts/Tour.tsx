import { useEffect, useMemo, useRef } from "react";
import { useNavigate } from "react-router";
import { useMay } from "../session";
import { useListing } from "./listing";
import { goTo, type Stop, stopsAlong, useStop } from "./tour";
import "../styles/tour.css";

/** A walk along the newest snapshot: what each page is for. It lies over the pages and leaves them as they are. */
export function Tour() {
  const stop = useStop();
  return stop === null ? null : <Walk number={stop} />;
}

function Walk({ number }: { number: number }) {
  const { items } = useListing("/v1/snapshots");
  const steers = useMay("steer");
  const [newest] = items;
  const stops = useMemo(() => (newest ? stopsAlong(newest, steers) : []), [newest, steers]);
  const stop = stops[Math.min(number, stops.length - 1)];
  return stop ? <Card key={number} stop={stop} number={number} of={stops.length} /> : null;
}

function Card({ stop, number, of }: { stop: Stop; number: number; of: number }) {
  const navigate = useRef(useNavigate()); // the router makes a new one at each page, which is no reason to go back
  const card = useRef<HTMLElement>(null);
  useEffect(() => {
    void navigate.current(stop.to);
    card.current?.focus();
  }, [stop.to]);
  usePointer(stop.at);
  const last = number + 1 === of;
  return (
    <section
      ref={card}
      className="tour"
      tabIndex={-1}
      aria-label={`Tour, ${number + 1} of ${of}: ${stop.title}`}
      onKeyDown={(event) => event.key === "Escape" && goTo(null)}
    >
      <p className="muted small">
        {number + 1} of {of}
      </p>
      <h2>{stop.title}</h2>
      <p>{stop.text}</p>
      <p className="actions">
        {number > 0 && (
          <button type="button" className="button" onClick={() => goTo(number - 1)}>
            Back
          </button>
        )}
        <button type="button" className="button primary" onClick={() => goTo(last ? null : number + 1)}>
          {last ? "Finish" : "Next"}
        </button>
        {!last && (
          <button type="button" className="button quiet" onClick={() => goTo(null)}>
            End the tour
          </button>
        )}
      </p>
    </section>
  );
}

/** Frame what the stop is about as soon as the page shows it. */
function usePointer(selector: string): void {
  useEffect(() => {
    let framed: Element | null = null;
    const point = () => {
      const found = document.querySelector(`#content ${selector}`);
      if (found === framed) return;
      framed?.classList.remove("toured");
      found?.classList.add("toured");
      framed = found;
    };
    const watching = new MutationObserver(point);
    watching.observe(document.body, { childList: true, subtree: true });
    point();
    return () => {
      watching.disconnect();
      framed?.classList.remove("toured");
    };
  }, [selector]);
}

/** Begins the tour. */
export function TourButton({ then }: { then?: () => void }) {
  return (
    <button
      type="button"
      className="button"
      onClick={() => {
        then?.();
        goTo(0);
      }}
    >
      Take the tour
    </button>
  );
}
