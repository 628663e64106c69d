import { describe, expect, it } from "vitest";
import type { Model, Snapshot } from "../api/client";
import { predictPath, readCase, sourceOf, usualLayers, usualMethods, writeCase } from "./predict";

const read = (text: string) => readCase(new URLSearchParams(text));
const model = (...kinds: string[]) =>
  ({ layers: kinds.map((kind, i) => ({ name: `l${i}`, kind })) }) as unknown as Model;

describe("an explained prediction in the address", () => {
  it("survives writing and reading", () => {
    const text = "model=m_1&dataset=d_1&sample=7&method=gradcam&method=lrp0&target=3&layer=conv_head";
    expect(writeCase(read(text)).toString()).toBe(text);
  });

  it("drops numbers that make no sense", () => {
    expect(read("sample=-1&target=1.5")).toMatchObject({ sample: null, target: null });
  });

  it("leads to a sample of a dataset", () => {
    expect(sourceOf(read(predictPath("d_1", 4).split("?")[1] ?? ""))).toEqual({
      sample: { dataset: "d_1", index: 4 },
      picture: null,
    });
    expect(sourceOf(read("dataset=d_1"))).toBeNull();
  });
});

describe("what is shown unless something else is asked for", () => {
  it("takes the rules that fit the network", () => {
    expect(usualMethods(model("map", "vector")).at(-1)).toBe("epsilon_plus");
    expect(usualMethods(model("tokens")).at(-1)).toBe("attnlrp");
  });

  it("takes the last layers before the scores", () => {
    expect(usualLayers(model("map", "map", "map", "vector"), undefined)).toEqual(["l1", "l2"]);
    const snapshot = { layers: [{ name: "a" }, { name: "b" }] } as Snapshot;
    expect(usualLayers(model("map"), snapshot)).toEqual(["a"]);
  });
});
