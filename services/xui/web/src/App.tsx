import { lazy } from "react";
import { Link, Route, Routes } from "react-router";
import { LoginPage } from "./pages/LoginPage";
import { SnapshotsPage } from "./pages/SnapshotsPage";
import { WelcomePage } from "./pages/WelcomePage";
import { Shell } from "./parts/Shell";
import { Empty } from "./parts/states";
import { useTitle } from "./parts/title";
import { RequireLogin } from "./session";

// each page is a script of its own, so that the first view loads only what it shows
const ComponentPage = lazy(async () => ({ default: (await import("./pages/ComponentPage")).ComponentPage }));
const AtlasesPage = lazy(async () => ({ default: (await import("./pages/AtlasesPage")).AtlasesPage }));
const AtlasPage = lazy(async () => ({ default: (await import("./pages/AtlasPage")).AtlasPage }));
const CarriedPage = lazy(async () => ({ default: (await import("./pages/CarriedPage")).CarriedPage }));
const AuditPage = lazy(async () => ({ default: (await import("./pages/AuditPage")).AuditPage }));
const AuditsPage = lazy(async () => ({ default: (await import("./pages/AuditsPage")).AuditsPage }));
const ComparisonPage = lazy(async () => ({ default: (await import("./pages/ComparisonPage")).ComparisonPage }));
const ComparisonsPage = lazy(async () => ({ default: (await import("./pages/ComparisonsPage")).ComparisonsPage }));
const DatasetPage = lazy(async () => ({ default: (await import("./pages/DatasetPage")).DatasetPage }));
const DatasetsPage = lazy(async () => ({ default: (await import("./pages/DatasetsPage")).DatasetsPage }));
const LineagePage = lazy(async () => ({ default: (await import("./pages/LineagePage")).LineagePage }));
const JobPage = lazy(async () => ({ default: (await import("./pages/JobPage")).JobPage }));
const JobsPage = lazy(async () => ({ default: (await import("./pages/JobsPage")).JobsPage }));
const LabelsPage = lazy(async () => ({ default: (await import("./pages/LabelsPage")).LabelsPage }));
const MapPage = lazy(async () => ({ default: (await import("./pages/MapPage")).MapPage }));
const MembersPage = lazy(async () => ({ default: (await import("./pages/MembersPage")).MembersPage }));
const ModelsPage = lazy(async () => ({ default: (await import("./pages/ModelsPage")).ModelsPage }));
const NewAuditPage = lazy(async () => ({ default: (await import("./pages/NewAuditPage")).NewAuditPage }));
const NewRunPage = lazy(async () => ({ default: (await import("./pages/NewRunPage")).NewRunPage }));
const NewSnapshotPage = lazy(async () => ({ default: (await import("./pages/NewSnapshotPage")).NewSnapshotPage }));
const PredictPage = lazy(async () => ({ default: (await import("./pages/PredictPage")).PredictPage }));
const RunsPage = lazy(async () => ({ default: (await import("./pages/RunsPage")).RunsPage }));
const SessionPage = lazy(async () => ({ default: (await import("./pages/SessionPage")).SessionPage }));
const SessionsPage = lazy(async () => ({ default: (await import("./pages/SessionsPage")).SessionsPage }));
const JoinPage = lazy(async () => ({ default: (await import("./pages/JoinPage")).JoinPage }));
const SteerPage = lazy(async () => ({ default: (await import("./pages/SteerPage")).SteerPage }));
const SteerTextPage = lazy(async () => ({ default: (await import("./pages/SteerTextPage")).SteerTextPage }));
const SearchPage = lazy(async () => ({ default: (await import("./pages/SearchPage")).SearchPage }));

export function App() {
  return (
    <Routes>
      <Route path="/login" element={<LoginPage />} />
      <Route path="/invite" element={<WelcomePage invited />} />
      <Route path="/reset" element={<WelcomePage invited={false} />} />
      <Route
        element={
          <RequireLogin>
            <Shell />
          </RequireLogin>
        }
      >
        <Route path="/" element={<SnapshotsPage />} />
        <Route path="/snapshots/new" element={<NewSnapshotPage />} />
        <Route path="/s/:snapshot" element={<SearchPage />} />
        <Route path="/s/:snapshot/c/:layer/:index" element={<ComponentPage />} />
        <Route path="/s/:snapshot/labels" element={<LabelsPage />} />
        <Route path="/s/:snapshot/map" element={<MapPage />} />
        <Route path="/predict" element={<PredictPage />} />
        <Route path="/steer" element={<SteerPage />} />
        <Route path="/steer/text" element={<SteerTextPage />} />
        <Route path="/alignment" element={<ComparisonsPage />} />
        <Route path="/alignment/:comparison" element={<ComparisonPage />} />
        <Route path="/atlases" element={<AtlasesPage />} />
        <Route path="/atlases/:atlas" element={<AtlasPage />} />
        <Route path="/atlases/carried/:alignment" element={<CarriedPage />} />
        <Route path="/audits" element={<AuditsPage />} />
        <Route path="/audits/new" element={<NewAuditPage />} />
        <Route path="/audits/:audit" element={<AuditPage />} />
        <Route path="/sessions" element={<SessionsPage />} />
        <Route path="/sessions/join" element={<JoinPage />} />
        <Route path="/sessions/:session" element={<SessionPage />} />
        <Route path="/runs/new" element={<NewRunPage />} />
        <Route path="/runs" element={<RunsPage />} />
        <Route path="/jobs" element={<JobsPage />} />
        <Route path="/jobs/:job" element={<JobPage />} />
        <Route path="/datasets" element={<DatasetsPage />} />
        <Route path="/datasets/:dataset" element={<DatasetPage />} />
        <Route path="/models" element={<ModelsPage />} />
        <Route path="/lineage/:key" element={<LineagePage />} />
        <Route path="/members" element={<MembersPage />} />
        <Route path="*" element={<NoPage />} />
      </Route>
    </Routes>
  );
}

function NoPage() {
  useTitle("No such page");
  return (
    <main className="page">
      <Empty title="There is no such page">
        <p>
          Go to the <Link to="/">snapshots</Link>.
        </p>
      </Empty>
    </main>
  );
}
