import { describe, expect, it } from "vitest";
import { extent, ticks } from "./chart";
import { csvText } from "./download";

describe("axes", () => {
  it("have round steps within the range", () => {
    expect(ticks(0, 1)).toEqual([0, 0.5, 1]);
    expect(ticks(0.13, 0.61)).toEqual([0.2, 0.4, 0.6]);
    expect(ticks(1, 6, 5)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(ticks(3, 3)).toEqual([3]);
  });

  it("leave room around an even line", () => {
    const { y } = extent([{ name: "a", points: [[0, 1], [1, 1]] }]);
    expect(y[0]).toBeLessThan(1);
    expect(y[1]).toBeGreaterThan(1);
  });
});

describe("comma-separated values", () => {
  it("quotes what must be quoted and runs nothing", () => {
    expect(csvText([["a,b", 'say "hi"', null, 0.5], ["=1+1", -1]])).toBe('"a,b","say ""hi""",,0.5\r\n\'=1+1,-1\r\n');
  });
});
