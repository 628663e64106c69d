export const BOX = { width: 168, height: 48, across: 52, down: 16 };

export interface Placed {
  step: number;
  x: number;
  y: number;
}

/** Places of boxes by their levels: 0 on the left, the next ones to the right, each level in the middle. */
export function placed(at: readonly number[]): { boxes: Placed[]; width: number; height: number } {
  const levels = [...new Set(at)].sort((a, b) => a - b);
  const columns = levels.map((level) => at.flatMap((each, step) => (each === level ? [step] : [])));
  const tallest = Math.max(1, ...columns.map((column) => column.length));
  const high = (count: number) => count * BOX.height + (count - 1) * BOX.down;
  const boxes = columns.flatMap((column, number) =>
    column.map((step, row) => ({
      step,
      x: number * (BOX.width + BOX.across),
      y: (high(tallest) - high(column.length)) / 2 + row * (BOX.height + BOX.down),
    })),
  );
  return { boxes: boxes.sort((a, b) => a.step - b.step), width: columns.length * (BOX.width + BOX.across) - BOX.across, height: high(tallest) };
}

/** A curve from the right side of one box to the left side of another. */
export function wire(from: Placed, to: Placed): string {
  const [x, y] = [from.x + BOX.width, from.y + BOX.height / 2];
  const [u, v] = [to.x, to.y + BOX.height / 2];
  const bend = BOX.across * 0.6;
  return `M${x} ${y}C${x + bend} ${y} ${u - bend} ${v} ${u} ${v}`;
}

export const lineagePath = (key: string) => `/lineage/${key}`;

/** `examples/columns` as its stage and what of its outputs it is. */
export function kindOf(kind: string): [string, string] {
  const slash = kind.indexOf("/");
  const [stage, output] = slash < 0 ? [kind, ""] : [kind.slice(0, slash), kind.slice(slash + 1)];
  return [stage, output === stage ? "" : output];
}
