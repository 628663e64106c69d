import type { PointMap, Polygon } from "./map";

export interface Size {
  width: number;
  height: number;
}

const EDGE = 0.92;

/** Where the plane [-1, 1]² lies on the canvas: its centre, and how much it is enlarged. */
export class View {
  constructor(
    readonly x = 0,
    readonly y = 0,
    readonly zoom = 1,
  ) {}

  scale(size: Size): number {
    return (Math.min(size.width, size.height) / 2) * EDGE * this.zoom;
  }

  back(px: number, py: number, size: Size): readonly [number, number] {
    const scale = this.scale(size);
    return [this.x + (px - size.width / 2) / scale, this.y - (py - size.height / 2) / scale];
  }

  moved(dx: number, dy: number, size: Size): View {
    const scale = this.scale(size);
    return new View(this.x - dx / scale, this.y + dy / scale, this.zoom);
  }
}

export const WHOLE = new View();

/** Enlarge around a place of the canvas, which stays where it is. */
export function zoomed(view: View, factor: number, px: number, py: number, size: Size): View {
  const zoom = Math.max(0.5, Math.min(200, view.zoom * factor));
  const [x, y] = view.back(px, py, size);
  const scale = new View(0, 0, zoom).scale(size);
  return new View(x - (px - size.width / 2) / scale, y + (py - size.height / 2) / scale, zoom);
}

const REACH = 12;

/** The component that is drawn nearest to a place, within reach; of all, or of the chosen ones. */
export function nearest(map: PointMap, view: View, size: Size, at: { x: number; y: number }, among: Set<number> | null): number | null {
  const [x, y] = view.back(at.x, at.y, size);
  let best: number | null = null;
  let least = (REACH / view.scale(size)) ** 2;
  for (let i = 0; i < map.n; i++) {
    const distance = (map.xy[2 * i]! - x) ** 2 + (map.xy[2 * i + 1]! - y) ** 2;
    if (distance < least && (among === null || among.has(i))) {
      least = distance;
      best = i;
    }
  }
  return best;
}

interface Drawing {
  map: PointMap;
  colours: { colours: string[]; of: Int8Array | Int32Array };
  chosen: Set<number> | null;
  picked: number | null;
  region: Polygon | null;
  view: View;
  size: Size;
  dark: boolean;
}

/** Draw all points: first the grey ones, then those that are selected, colour by colour, so that few changes are made. */
export function drawPoints(canvas: HTMLCanvasElement, drawing: Drawing): void {
  const { map, colours, chosen, picked, region, view, size, dark } = drawing;
  const ratio = globalThis.devicePixelRatio || 1;
  canvas.width = size.width * ratio;
  canvas.height = size.height * ratio;
  const pen = canvas.getContext("2d");
  if (pen === null) return;
  pen.scale(ratio, ratio);
  const scale = view.scale(size);
  const radius = Math.max(1.2, Math.min(7, (map.n > 20_000 ? 1.4 : 2.6) * Math.sqrt(view.zoom)));
  const px = (x: number) => size.width / 2 + (x - view.x) * scale;
  const py = (y: number) => size.height / 2 - (y - view.y) * scale;
  const round = radius >= 2;
  const dots = (colour: string, opacity: number, wanted: (i: number) => boolean) => {
    pen.fillStyle = colour;
    pen.globalAlpha = opacity;
    pen.beginPath();
    for (let i = 0; i < map.n; i++) {
      if (!wanted(i)) continue;
      const x = px(map.xy[2 * i]!);
      const y = py(map.xy[2 * i + 1]!);
      if (x < -9 || y < -9 || x > size.width + 9 || y > size.height + 9) continue;
      if (round) {
        pen.moveTo(x + radius, y);
        pen.arc(x, y, radius, 0, 2 * Math.PI);
      } else pen.rect(x - radius, y - radius, 2 * radius, 2 * radius);
    }
    pen.fill();
  };
  if (chosen !== null) dots(dark ? "#59636e" : "#c3cad3", 0.6, (i) => !chosen.has(i));
  colours.colours.forEach((colour, place) => dots(colour, 0.82, (i) => colours.of[i] === place && (chosen === null || chosen.has(i))));
  pen.globalAlpha = 1;
  pen.strokeStyle = dark ? "#ffffff" : "#111111";
  if (region !== null && region.length > 1) {
    pen.setLineDash([6, 4]);
    pen.lineWidth = 1.5;
    pen.beginPath();
    region.forEach(([x, y], i) => (i === 0 ? pen.moveTo(px(x), py(y)) : pen.lineTo(px(x), py(y))));
    pen.closePath();
    pen.stroke();
    pen.setLineDash([]);
  }
  if (picked !== null) {
    pen.lineWidth = 2.5;
    pen.beginPath();
    pen.arc(px(map.xy[2 * picked]!), py(map.xy[2 * picked + 1]!), radius + 4, 0, 2 * Math.PI);
    pen.stroke();
  }
}
