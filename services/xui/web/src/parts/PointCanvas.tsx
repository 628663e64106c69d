import { type PointerEvent, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useTheme } from "../theme";
import { coloured } from "./colours";
import { type Colouring, type PointMap, type Polygon, thinned } from "./map";
import { drawPoints, nearest, type View, WHOLE, zoomed } from "./points";

export type Tool = "move" | "lasso" | "box";

interface Props {
  map: PointMap;
  colouring: Colouring;
  chosen: Set<number> | null;
  picked: number | null;
  region: Polygon | null;
  tool: Tool;
  select: (region: Polygon | null) => void;
  pick: (place: number | null) => void;
  hover: (place: number | null, at: { x: number; y: number }) => void;
}

const HEIGHT = 560;

/** Points on a canvas. Whatever is not selected stays, in grey; keys move (arrows), zoom (+ −) and reset (0). */
export function PointCanvas({ map, colouring, chosen, picked, region, tool, select, pick, hover }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [view, setView] = useState<View>(WHOLE);
  const [width, setWidth] = useState(800);
  const [line, setLine] = useState<Polygon | null>(null);
  const dragged = useRef<{ x: number; y: number; moved: boolean } | null>(null);
  const [theme] = useTheme();
  const colours = useMemo(() => coloured(map, colouring), [map, colouring]);
  const size = useMemo(() => ({ width, height: HEIGHT }), [width]);
  useEffect(() => {
    const box = canvas.current?.parentElement;
    if (!box) return;
    const watch = new ResizeObserver(() => setWidth(box.clientWidth));
    watch.observe(box);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    if (canvas.current) drawPoints(canvas.current, { map, colours, chosen, picked, region: line ?? region, view, size, dark: theme === "dark" });
  }, [map, colours, chosen, picked, region, line, view, size, theme]);
  useWheel(canvas, size, setView);

  const place = useCallback(
    (event: PointerEvent) => {
      const bounds = event.currentTarget.getBoundingClientRect();
      return { x: event.clientX - bounds.left, y: event.clientY - bounds.top };
    },
    [],
  );
  const onPlane = ({ x, y }: { x: number; y: number }) => view.back(x, y, size);
  const down = (event: PointerEvent) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    const at = place(event);
    dragged.current = { ...at, moved: false };
    if (tool !== "move") setLine([onPlane(at)]);
  };
  const move = (event: PointerEvent) => {
    const at = place(event);
    const from = dragged.current;
    if (from === null) return hover(nearest(map, view, size, at, chosen), at);
    if (Math.hypot(at.x - from.x, at.y - from.y) < 4 && !from.moved) return;
    from.moved = true;
    if (tool === "move") {
      setView((now) => now.moved(at.x - from.x, at.y - from.y, size));
      dragged.current = { ...at, moved: true };
    } else if (tool === "box") {
      const [[ax, ay], [bx, by]] = [onPlane(from), onPlane(at)];
      setLine([[ax, ay], [bx, ay], [bx, by], [ax, by]]);
    } else setLine((now) => [...(now ?? []), onPlane(at)]);
  };
  const up = (event: PointerEvent) => {
    const from = dragged.current;
    dragged.current = null;
    setLine(null);
    if (from === null) return;
    if (!from.moved) return pick(nearest(map, view, size, place(event), null));
    if (tool !== "move" && line !== null && line.length > 2) select(thinned(line));
  };
  const key = (event: React.KeyboardEvent) => {
    const steps: Record<string, [number, number]> = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
    const step = steps[event.key];
    if (step) setView((now) => now.moved(step[0], step[1], size));
    else if (event.key === "+" || event.key === "=") setView((now) => zoomed(now, 1.3, size.width / 2, size.height / 2, size));
    else if (event.key === "-") setView((now) => zoomed(now, 1 / 1.3, size.width / 2, size.height / 2, size));
    else if (event.key === "0") setView(WHOLE);
    else if (event.key === "Escape") select(null);
    else return;
    event.preventDefault();
  };
  return (
    <canvas
      ref={canvas}
      className={`points ${tool}`}
      tabIndex={0}
      role="img"
      aria-label={`Map of ${map.n} components, ${chosen === null ? "all" : chosen.size} selected. Arrow keys move it, plus and minus zoom, 0 shows all, Escape selects all.`}
      onPointerDown={down}
      onPointerMove={move}
      onPointerUp={up}
      onPointerLeave={() => hover(null, { x: 0, y: 0 })}
      onKeyDown={key}
    />
  );
}

/** React listens to wheels passively, and a page that scrolls while one zooms is no map. */
function useWheel(canvas: React.RefObject<HTMLCanvasElement | null>, size: { width: number; height: number }, setView: (change: (now: View) => View) => void) {
  useEffect(() => {
    const drawn = canvas.current;
    if (!drawn) return;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      const bounds = drawn.getBoundingClientRect();
      const factor = Math.exp(-event.deltaY * 0.0015);
      setView((now) => zoomed(now, factor, event.clientX - bounds.left, event.clientY - bounds.top, size));
    };
    drawn.addEventListener("wheel", wheel, { passive: false });
    return () => drawn.removeEventListener("wheel", wheel);
  }, [canvas, size, setView]);
}
