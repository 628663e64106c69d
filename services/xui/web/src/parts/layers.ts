/** At most `most` names, evenly spread from the first to the last one. */
export function spread(names: string[], most: number): string[] {
  if (names.length <= most) return names;
  return Array.from({ length: most }, (_, i) => names[Math.round((i * (names.length - 1)) / (most - 1))] as string);
}
