import { afterEach, describe, expect, it, vi } from "vitest";
import { api, ask, rememberCsrf, thumbnail, whenLoggedOut } from "./client";
import { asProblem, Problem, problemOf } from "./problem";

const sent: Request[] = [];

function answerWith(make: () => Response | Promise<Response>): void {
  vi.stubGlobal("fetch", (request: Request) => {
    sent.push(request);
    return Promise.resolve().then(make);
  });
}

const json = (status: number, body: unknown) =>
  new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });

const me = () => ask(api.GET("/v1/session", { fetch: (request) => fetch(request) }));
const leave = () => ask(api.POST("/v1/logout", { fetch: (request) => fetch(request) }));

afterEach(() => {
  vi.unstubAllGlobals();
  sent.length = 0;
  rememberCsrf(null);
  whenLoggedOut(() => undefined);
});

describe("ask", () => {
  it("returns the data of a good answer", async () => {
    answerWith(() => json(200, { csrf: "t" }));
    expect(await me()).toEqual({ csrf: "t" });
  });

  it("throws a refusal with all that the server said", async () => {
    const body = { title: "EmptyPrompt", status: 422, detail: "It vanishes.", remedy: "Write `a cat`.", field: "terms" };
    answerWith(() => json(422, { ...body, correlation_id: "c7" }));
    const thrown = await me().catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(Problem);
    expect(thrown).toMatchObject({ ...body, correlationId: "c7" });
  });

  it("throws a problem for a page of a proxy, too", async () => {
    answerWith(() => new Response("<html>Bad gateway</html>", { status: 502 }));
    await expect(me()).rejects.toMatchObject({ title: "HTTP 502", status: 502 });
  });

  it("says that the server cannot be reached", async () => {
    answerWith(() => Promise.reject(new TypeError("Failed to fetch")));
    await expect(me()).rejects.toMatchObject({ title: "Unreachable", status: 0 });
  });

  it("leaves an abandoned request an abandoned request", async () => {
    answerWith(() => Promise.reject(new DOMException("gone", "AbortError")));
    await expect(me()).rejects.toMatchObject({ name: "AbortError" });
  });

  it("tells when the login has ended", async () => {
    const ended = vi.fn();
    whenLoggedOut(ended);
    answerWith(() => json(401, { title: "Unauthenticated", detail: "d", remedy: "r" }));
    await expect(me()).rejects.toMatchObject({ status: 401 });
    expect(ended).toHaveBeenCalledOnce();
  });
});

describe("the CSRF token", () => {
  it("goes with every change and with nothing else", async () => {
    rememberCsrf("secret");
    answerWith(() => json(200, { logged_out: true }));
    await leave();
    await me();
    expect(sent.map((request) => request.headers.get("X-CSRF-Token"))).toEqual(["secret", null]);
  });
});

describe("problems", () => {
  it("are made of anything", () => {
    expect(problemOf(500, null)).toMatchObject({ title: "HTTP 500", field: null });
    expect(problemOf(400, { title: 7, detail: "" })).toMatchObject({ title: "HTTP 400" });
    expect(asProblem(new Error("boom")).detail).toBe("boom");
  });
});

it("quotes names in addresses of thumbnails", () => {
  expect(thumbnail("a/b", 3)).toBe("/v1/datasets/a%2Fb/samples/3/thumbnail");
});
