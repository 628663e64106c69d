import { describe, expect, it } from "vitest";
import { readArrays } from "./arrays";
import { inside, mapOf, MOST_CORNERS, type Polygon, readPolygon, selected, thinned, writePolygon } from "./map";

/** Three components of two layers, packed as the server packs them. */
function packed(): ArrayBuffer {
  const floats = { xy: [0, 0, 1, 1, -1, 0.5], clarity: [0.1, 0.2, NaN], polysemanticity: [0, 0, 0], redundancy: [0, 0, 0] };
  const wholes = { index: [4, 5, 6], layer: [0, 0, 1], sign: [1, -1, 1] };
  const header: Record<string, unknown> = { __metadata__: { facts: JSON.stringify({ layers: ["a", "b"] }) } };
  const parts: ArrayBuffer[] = [];
  let at = 0;
  const add = (name: string, dtype: string, values: Float32Array | Int32Array) => {
    header[name] = { dtype, shape: [values.length], data_offsets: [at, at + values.byteLength] };
    parts.push(values.slice().buffer as ArrayBuffer);
    at += values.byteLength;
  };
  for (const [name, values] of Object.entries(floats)) add(name, "F32", new Float32Array(values));
  for (const [name, values] of Object.entries(wholes)) add(name, "I32", new Int32Array(values));
  const text = new TextEncoder().encode(JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + at);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  let place = 8 + text.length;
  for (const part of parts) {
    file.set(new Uint8Array(part), place);
    place += part.byteLength;
  }
  return file.buffer;
}

describe("a map from the server", () => {
  it("is read number by number", () => {
    const map = mapOf(readArrays(packed()));
    expect(map).toMatchObject({ n: 3, layers: ["a", "b"] });
    expect([...map.xy]).toEqual([0, 0, 1, 1, -1, 0.5]);
    expect([...map.index]).toEqual([4, 5, 6]);
    expect([...map.sign]).toEqual([1, -1, 1]);
    expect(map.clarity[2]).toBeNaN();
  });

  it("is refused where it is cut off", () => {
    expect(() => readArrays(packed().slice(0, -4))).toThrow("cut off within sign");
    expect(() => readArrays(new ArrayBuffer(3))).toThrow("before its header");
  });
});

describe("a region", () => {
  const square: Polygon = [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]];

  it("holds what lies in it", () => {
    expect(inside(square, 0, 0.49)).toBe(true);
    expect(inside(square, 0, 0.51)).toBe(false);
  });

  it("selects by place and by layer", () => {
    const map = mapOf(readArrays(packed()));
    expect(selected(map, square, [])).toEqual([0]);
    expect(selected(map, null, ["b"])).toEqual([2]);
    expect(selected(map, square, ["b"])).toEqual([]);
    expect(selected(map, null, [])).toEqual([0, 1, 2]);
  });

  it("survives the address", () => {
    expect(readPolygon(writePolygon(square))).toEqual(square);
    expect(readPolygon("1,2;3")).toBeNull();
    expect(readPolygon("a,b;c,d;e,f")).toBeNull();
  });

  it("keeps few corners", () => {
    const line = Array.from({ length: 1000 }, (_, i) => [i, i] as const);
    expect(thinned(line).length).toBeLessThanOrEqual(MOST_CORNERS);
    expect(thinned(square)).toEqual(square);
  });
});
