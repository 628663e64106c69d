import createClient, { type Middleware } from "openapi-fetch";
import { Problem, problemOf, unreachable } from "./problem";
import type { components, paths } from "./schema";

type Schemas = components["schemas"];
export type Login = Schemas["Login"];
export type Snapshot = Schemas["Snapshot"];
export type SnapshotLayer = Schemas["SnapshotLayer"];
export type SearchHit = Schemas["SearchHit"];
export type SearchHits = Schemas["SearchHits"];
export type SearchQuery = Schemas["SearchQuery"];
export type ComponentRef = Schemas["ComponentRef"];
export type ComponentDetail = Schemas["ComponentDetail"];
export type ComponentGraph = Schemas["ComponentGraph"];
export type Plays = Schemas["Plays"];
export type Usage = Schemas["Usage"];
export type Lineage = Schemas["Lineage"];
export type ExampleRange = Schemas["ExampleRange"];
export type Component = Schemas["Component"];
export type Crop = Schemas["Crop"];
export type Example = Schemas["Example"];
export type Histogram = Schemas["Histogram"];
export type Job = Schemas["Job"];
export type Stage = Schemas["Stage"];
export type Dataset = Schemas["Dataset"];
export type Model = Schemas["Model"];
export type Sample = Schemas["Sample"];
export type AttributionMethod = Schemas["AttributionMethod"];
export type AttributionRequest = Schemas["AttributionRequest"];
export type AttributionAnswer = Schemas["AttributionAnswer"];
export type GenerationRequest = Schemas["GenerationRequest"];
export type GenerationState = Schemas["GenerationState"];
export type SteeringDirection = Schemas["SteeringDirection"];
export type SteeringRequest = Schemas["SteeringRequest"];
export type SteeringPreview = Schemas["SteeringPreview"];
export type HeatMap = Schemas["HeatMap"];
export type LayerRelevance = Schemas["LayerRelevance"];
export type ClassScore = Schemas["ClassScore"];
export type LabelSet = Schemas["LabelSet"];
export type LabelRequest = Schemas["LabelRequest"];
export type LayerLeaderboard = Schemas["LayerLeaderboard"];
export type Estimate = Schemas["Estimate"];
export type ScorerLabels = Schemas["ScorerLabels"];
export type LabelStatus = ScorerLabels["status"];
export type CandidateFigures = Schemas["CandidateFigures"];
export type EpochFigures = Schemas["EpochFigures"];
export type PruningStep = Schemas["PruningStep"];
export type Comparison = Schemas["Comparison"];
export type PairReport = Schemas["PairReport"];
export type Concept = Schemas["Concept"];
export type ConceptMatch = Schemas["ConceptMatch"];
export type Audit = Schemas["Audit"];
export type AuditSummary = Schemas["AuditSummary"];
export type AuditFinding = Schemas["AuditFinding"];
export type AuditPoint = Schemas["AuditPoint"];
export type AuditRequest = Schemas["AuditRequest"];
export type Correction = Schemas["Correction"];
export type SnapshotRequest = Schemas["SnapshotRequest"];
export type TrainingRequest = Schemas["TrainingRequest"];
export type PruningRequest = Schemas["PruningRequest"];
export type DatasetRegistration = Schemas["DatasetRegistration"];
export type ModelRegistration = Schemas["ModelRegistration"];
export type Upload = Schemas["Upload"];
export type SteeringSetting = Schemas["SteeringSetting"];
export type MeasuredSteering = Schemas["MeasuredSteering"];
export type Atlas = Schemas["Atlas"];
export type AtlasLabel = Schemas["AtlasLabel"];
export type CarriedAtlas = Schemas["AtlasAlignment"];
export type LayerTransfer = Schemas["LayerTransfer"];
export type SaeLatent = Schemas["SaeLatent"];
export type TextQuery = Schemas["TextQuery"];
export type TokenReading = Schemas["TokenReading"];
export type SteeringArm = Schemas["SteeringArm"];
export type EvaluationFigure = Schemas["EvaluationFigure"];
export type AuditLogEntry = Schemas["AuditLogEntry"];
export type NewLink = Schemas["NewLink"];
export type Role = Schemas["Role"];
export type WorkspaceMember = Schemas["WorkspaceMember"];
export type AnalysisSession = Schemas["AnalysisSession"];
export type SessionSummary = Schemas["SessionSummary"];
export type Replay = Schemas["Replay"];
export type SessionEvent = Schemas["SessionEvent"];
export type SessionAction = Schemas["EventDraft"]["action"];
export type Pin = Schemas["Pin"];
export type Note = Schemas["Note"];
export type Viewer = Schemas["Viewer"];

let csrf: string | null = null;
let loggedOut: () => void = () => undefined;

/** The token that every change has to carry; the server tells it on login. */
export function rememberCsrf(token: string | null): void {
  csrf = token;
}

/** What happens when the server says that the login has ended. */
export function whenLoggedOut(then: () => void): void {
  loggedOut = then;
}

const changes: Middleware = {
  onRequest({ request }) {
    if (request.method !== "GET" && csrf !== null) request.headers.set("X-CSRF-Token", csrf);
    return request;
  },
};

export const api = createClient<paths>({ baseUrl: globalThis.location?.origin ?? "http://127.0.0.1", credentials: "same-origin" });
api.use(changes);

export interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** Wait for an answer of `api`; anything but success is thrown as a Problem. */
export async function ask<T>(pending: Promise<Answer<T>>): Promise<T> {
  const answer = await pending.catch((reason: unknown) => {
    if (reason instanceof DOMException && reason.name === "AbortError") throw reason;
    throw reason instanceof SyntaxError ? problemOf(502, null) : unreachable();
  });
  if (!answer.response.ok) {
    const problem = problemOf(answer.response.status, answer.error);
    if (problem.status === 401) loggedOut();
    throw problem;
  }
  if (answer.data === undefined) throw problemOf(answer.response.status, null);
  return answer.data;
}

/** Send a file and tell how much has gone; `fetch` cannot tell. */
export function send(file: File, told: (share: number) => void): Promise<Upload> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/uploads");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    if (csrf !== null) request.setRequestHeader("X-CSRF-Token", csrf);
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && told(event.loaded / event.total);
    request.onerror = () => reject(unreachable());
    request.onload = () => {
      if (request.status >= 200 && request.status < 300 && request.response) return resolve(request.response as Upload);
      if (request.status === 401) loggedOut();
      reject(problemOf(request.status, request.response));
    };
    request.send(file);
  });
}

export const thumbnail = (dataset: string, sample: number): string =>
  `/v1/datasets/${encodeURIComponent(dataset)}/samples/${sample}/thumbnail`;

export const picture = (dataset: string, sample: number): string =>
  `/v1/datasets/${encodeURIComponent(dataset)}/samples/${sample}/picture`;

export { Problem };
