const MISSING = "–";

type Figure = number | null | undefined;

/** A figure with so many decimals; a dash where there is none. */
export function figure(value: Figure, decimals = 2): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  const rounded = value.toFixed(decimals);
  return Number(rounded) === 0 ? rounded.replace("-", "") : rounded.replace("-", "−");
}

/** Activations have any scale: four significant digits, exponents only for the very small and very large. */
export function activation(value: Figure): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  if (value === 0) return "0";
  const size = Math.abs(value);
  const shown = size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  return shown.replaceAll("-", "−");
}

/** A whole number with thin spaces between thousands. */
export function count(value: Figure): string {
  if (value === null || value === undefined) return MISSING;
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

export function percent(share: Figure): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return MISSING;
  const points = share * 100;
  return `${points > 0 && points < 1 ? points.toFixed(1) : points.toFixed(0)} %`;
}

/** Seconds as people say them: `8 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(seconds: Figure): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds) || seconds < 0) return MISSING;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return whole % 60 === 0 ? `${minutes} min` : `${minutes} min ${whole % 60} s`;
  const hours = Math.floor(minutes / 60);
  return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
}

/** `1 job`, `2 jobs`. */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

export function moment(iso: string | null | undefined): string {
  if (!iso) return MISSING;
  return new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));
}

export function shortHash(hash: string): string {
  return hash.slice(0, 10);
}

export const signMark = (sign: number): string => (sign < 0 ? "−" : "+");

/** Stage and reason names are snake-case or dashed on the wire. */
export function words(name: string): string {
  return name.replaceAll(/[_-]+/g, " ");
}

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** A size in powers of a thousand, as disks are sold. */
export function bytes(size: number): string {
  const power = Math.min(UNITS.length - 1, size < 1000 ? 0 : Math.floor(Math.log10(size) / 3));
  const value = size / 1000 ** power;
  return `${power > 0 && value < 10 ? value.toFixed(1) : value.toFixed(0)} ${UNITS[power]}`;
}
