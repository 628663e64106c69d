import { expect, it } from "vitest";
import { activation, count, duration, figure, percent, plural, words } from "./format";

it.each([
  [0.617, "0.62"],
  [-0.25, "−0.25"],
  [-0.001, "0.00"],
  [null, "–"],
  [Number.NaN, "–"],
])("a figure of %s reads %s", (value, text) => expect(figure(value)).toBe(text));

it.each([
  [0, "0"],
  [12.34567, "12.35"],
  [-3, "−3"],
  [0.00012, "1.20e−4"],
  [1234567, "1.23e+6"],
  [undefined, "–"],
])("an activation of %s reads %s", (value, text) => expect(activation(value)).toBe(text));

it.each([
  [0.4, "0 s"],
  [59.6, "1 min"],
  [200, "3 min 20 s"],
  [3600, "1 h"],
  [7500, "2 h 5 min"],
  [-1, "–"],
])("%s seconds read %s", (value, text) => expect(duration(value)).toBe(text));

it("counts have thin spaces between thousands", () => {
  expect(count(999)).toBe("999");
  expect(count(1234567)).toBe("1\u202f234\u202f567");
});

it("small shares are not rounded to nothing", () => {
  expect([percent(0), percent(0.004), percent(0.5), percent(1)]).toEqual(["0 %", "0.4 %", "50 %", "100 %"]);
});

it("one is not many", () => {
  expect([plural(1, "job"), plural(2, "job"), plural(0, "file was", "files were")]).toEqual(["1 job", "2 jobs", "0 files were"]);
});

it("names of stages and reasons read as words", () => expect(words("storage_full-now")).toBe("storage full now"));
