import { describe, expect, it } from "vitest";
import { BOX, kindOf, placed, wire } from "./lineage";

describe("the drawing of a lineage", () => {
  it("puts each level into a column, in the middle of the tallest", () => {
    const { boxes, width, height } = placed([0, 1, 1, 3]);
    expect(boxes.map(({ x }) => x / (BOX.width + BOX.across))).toEqual([0, 1, 1, 2]);
    expect(boxes.map(({ y }) => y)).toEqual([(BOX.height + BOX.down) / 2, 0, BOX.height + BOX.down, (BOX.height + BOX.down) / 2]);
    expect([width, height]).toEqual([3 * BOX.width + 2 * BOX.across, 2 * BOX.height + BOX.down]);
  });

  it("leads wires from right sides to left sides", () => {
    const [from, to] = placed([0, 1]).boxes;
    expect(wire(from!, to!)).toMatch(new RegExp(`^M${BOX.width} ${BOX.height / 2}C.* ${BOX.width + BOX.across} ${BOX.height / 2}$`));
  });

  it("names a kind by its stage and output", () => {
    expect([kindOf("examples/columns"), kindOf("nulls/nulls"), kindOf("model")]).toEqual([["examples", "columns"], ["nulls", ""], ["model", ""]]);
  });
});
