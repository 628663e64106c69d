import { Link, Route, Routes } from "react-router";
import { ComponentPage } from "./pages/ComponentPage";
import { DatasetPage } from "./pages/DatasetPage";
import { DatasetsPage } from "./pages/DatasetsPage";
import { JobPage } from "./pages/JobPage";
import { JobsPage } from "./pages/JobsPage";
import { LoginPage } from "./pages/LoginPage";
import { ModelsPage } from "./pages/ModelsPage";
import { SearchPage } from "./pages/SearchPage";
import { SnapshotsPage } from "./pages/SnapshotsPage";
import { Shell } from "./parts/Shell";
import { Empty } from "./parts/states";
import { useTitle } from "./parts/title";
import { RequireLogin } from "./session";

export function App() {
  return (
    <Routes>
      <Route path="/login" element={<LoginPage />} />
      <Route
        element={
          <RequireLogin>
            <Shell />
          </RequireLogin>
        }
      >
        <Route path="/" element={<SnapshotsPage />} />
        <Route path="/s/:snapshot" element={<SearchPage />} />
        <Route path="/s/:snapshot/c/:layer/:index" element={<ComponentPage />} />
        <Route path="/jobs" element={<JobsPage />} />
        <Route path="/jobs/:job" element={<JobPage />} />
        <Route path="/datasets" element={<DatasetsPage />} />
        <Route path="/datasets/:dataset" element={<DatasetPage />} />
        <Route path="/models" element={<ModelsPage />} />
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
