export type NumberArray = Float32Array | Int32Array;

export interface Arrays {
  facts: Record<string, unknown>;
  arrays: Record<string, NumberArray>;
}

interface Entry {
  dtype: string;
  data_offsets: [number, number];
}

/** Read a safetensors file: eight bytes with the length of a JSON header, the header, then the numbers as they are. */
export function readArrays(body: ArrayBuffer): Arrays {
  if (body.byteLength < 8) throw new Error("The file is cut off before its header.");
  const length = Number(new DataView(body).getBigUint64(0, true));
  const start = 8 + length;
  if (start > body.byteLength) throw new Error("The file is cut off within its header.");
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(body, 8, length))) as Record<string, unknown>;
  const { __metadata__: metadata, ...entries } = header;
  const arrays: Record<string, NumberArray> = {};
  for (const [name, entry] of Object.entries(entries as Record<string, Entry>)) {
    const [from, to] = entry.data_offsets;
    if (start + to > body.byteLength) throw new Error(`The file is cut off within ${name}.`);
    const bytes = body.slice(start + from, start + to); // a copy, because views must begin at whole numbers
    if (entry.dtype === "F32") arrays[name] = new Float32Array(bytes);
    else if (entry.dtype === "I32") arrays[name] = new Int32Array(bytes);
  }
  const facts = (metadata as { facts?: string } | undefined)?.facts;
  return { facts: facts === undefined ? {} : (JSON.parse(facts) as Record<string, unknown>), arrays };
}
