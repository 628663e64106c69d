import { describe, expect, it } from "vitest";
import { readAsked, readLike, requestOf, STEP, writeAsked, writeLike } from "./query";

const read = (text: string) => readAsked(new URLSearchParams(text));

describe("a search in the address", () => {
  it("survives writing and reading", () => {
    const text = "q=a+cat&like=blocks.5%3A12%3A-1&sample=7&layer=a&layer=b&min_clarity=0.3&min_score=0&k=48";
    expect(writeAsked(read(text)).toString()).toBe(text);
  });

  it("is empty where nothing is asked", () => {
    expect(writeAsked(read("")).toString()).toBe("");
    expect(requestOf(read("layer=a"))).toBeNull();
  });

  it("drops what makes no sense", () => {
    const asked = read("sample=-1&min_score=high&k=abc&like=nothing");
    expect(asked).toMatchObject({ sample: null, minScore: null, k: STEP, like: null });
    expect(read("k=99999").k).toBe(960);
  });
});

describe("a component in the address", () => {
  it("may lie in a layer whose name has colons", () => {
    expect(readLike("a:b:3")).toEqual({ layer: "a:b", index: 3, sign: 1 });
  });

  it("has a sign only if it is negative", () => {
    expect(writeLike({ layer: "fc", index: 3, sign: 1 })).toBe("fc:3");
    expect(readLike(writeLike({ layer: "fc", index: 3, sign: -1 }))?.sign).toBe(-1);
  });
});

it("all terms go into one request", () => {
  expect(requestOf(read("q=a+cat&like=fc:3&sample=7&layer=fc"))).toMatchObject({
    terms: [
      { kind: "text", text: "a cat" },
      { kind: "component", layer: "fc", index: 3, sign: 1 },
      { kind: "sample", sample: 7 },
    ],
    layers: ["fc"],
    min_score: null,
  });
});

it("a picture that this tab does not keep is no term", () => expect(requestOf(read("picture=0a-12"))).toBeNull());
