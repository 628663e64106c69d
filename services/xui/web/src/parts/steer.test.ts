import { describe, expect, it } from "vitest";
import { interventionsOf, readSteering, steerPath, sweepOf, writeSteering } from "./steer";

describe("the address of a steering", () => {
  it("is read as it was written", () => {
    const shown = readSteering(new URLSearchParams("model=m&dataset=d&sample=3&layer=conv_head&unit=5&unit=7&change=add&strength=-1.5&maps=1"));
    expect(shown).toMatchObject({ layers: ["conv_head"], units: [5, 7], how: "add", strength: -1.5, maps: true });
    expect(readSteering(writeSteering(shown))).toEqual(shown);
  });

  it("keeps to what the slider can show", () => {
    const shown = readSteering(new URLSearchParams("unit=x&unit=2&unit=2&change=explode&strength=99"));
    expect(shown).toMatchObject({ units: [2], how: "ablate", strength: 2 });
    expect(readSteering(new URLSearchParams("strength=much")).strength).toBe(1);
    expect(readSteering(new URLSearchParams("strength=99"), "text")).toMatchObject({ how: "add", strength: 1.5 });
  });

  it("is made for components", () => {
    expect(steerPath("lite0", "blocks.5", [1, 2])).toBe("/steer?model=lite0&layer=blocks.5&unit=1&unit=2");
  });
});

describe("interventions", () => {
  it("take out each unit by itself and add them as one direction", () => {
    expect(interventionsOf("l", { units: [1, 2], how: "ablate", strength: 1 })).toHaveLength(2);
    const [added] = interventionsOf("l", { units: [1, 2], how: "add", strength: 1 });
    expect(added?.target).toMatchObject({ kind: "components", components: [{ index: 1 }, { index: 2 }] });
    expect(interventionsOf("l", { units: [1], how: "add", strength: 1 })[0]?.target).toMatchObject({ kind: "component", index: 1 });
  });

  it("are swept from end to end through the middle", () => {
    const swept = sweepOf("add");
    expect([swept[0], swept[6], swept.at(-1)]).toEqual([-4, 0, 4]);
  });
});
