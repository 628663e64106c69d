import { expect, test } from "vitest";
import { spread } from "./layers";

test("layers are spread from the first to the last", () => {
  const names = Array.from({ length: 21 }, (_, i) => `l${i}`);
  expect(spread(names, 5)).toEqual(["l0", "l5", "l10", "l15", "l20"]);
  expect(spread(["a", "b"], 5)).toEqual(["a", "b"]);
  expect(new Set(spread(names.slice(0, 6), 5)).size).toBe(5);
});
