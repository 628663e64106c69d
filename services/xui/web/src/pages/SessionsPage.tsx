import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, useNavigate } from "react-router";
import { api, ask } from "../api/client";
import { count, moment } from "../format";
import { useListing } from "../parts/listing";
import { sessionPath } from "../parts/SessionBar";
import { Empty, Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import { useMay } from "../session";
import "../styles/session.css";

const ACCESS = { owner: "owner", edit: "may edit", view: "may look" } as const;

export function SessionsPage() {
  useTitle("Sessions");
  const may = useMay("annotate");
  const { items, query, more } = useListing("/v1/sessions");
  return (
    <main className="page">
      <h1>Analysis sessions</h1>
      <p className="lead">Shared records of an inquiry: what was searched, seen, pinned and noted, and how to get back there.</p>
      {may && <Begin />}
      {query.isPending && <Loading what="analysis sessions" />}
      {query.isError && <Refusal problem={query.error} retry={() => void query.refetch()} />}
      {query.isSuccess && items.length === 0 && (
        <Empty title="No analysis session yet">
          <p>
            Begin one here, or press <kbd className="key">p</kbd> on a search result to keep it. Others come in by a share link.
          </p>
        </Empty>
      )}
      {items.length > 0 && (
        <div className="table-wrap spaced">
          <table>
            <thead>
              <tr>
                <th scope="col">Session</th>
                <th scope="col">Owner</th>
                <th scope="col">You</th>
                <th scope="col" className="right">
                  Members
                </th>
                <th scope="col" className="right">
                  Pins
                </th>
                <th scope="col" className="right">
                  Notes
                </th>
                <th scope="col" className="right">
                  Events
                </th>
                <th scope="col">Last change</th>
              </tr>
            </thead>
            <tbody>
              {items.map((session) => (
                <tr key={session.id}>
                  <th scope="row">
                    <Link to={sessionPath(session.id)}>{session.name}</Link>
                  </th>
                  <td>{session.owner}</td>
                  <td>{ACCESS[session.access]}</td>
                  <td className="right">{count(session.members)}</td>
                  <td className="right">{count(session.pins)}</td>
                  <td className="right">{count(session.notes)}</td>
                  <td className="right">{count(session.events)}</td>
                  <td>{moment(session.changed_at)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {more}
    </main>
  );
}

function Begin() {
  const snapshots = useListing("/v1/snapshots").items;
  const [name, setName] = useState("");
  const [chosen, setChosen] = useState("");
  const navigate = useNavigate();
  const queries = useQueryClient();
  const snapshot = chosen || snapshots[0]?.id || "";
  const begin = useMutation({
    mutationFn: () => ask(api.POST("/v1/sessions", { params: {}, body: { name: name.trim(), snapshot } })),
    onSuccess: (made) => {
      void queries.invalidateQueries({ queryKey: ["/v1/sessions"] });
      navigate(sessionPath(made.id));
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    begin.mutate();
  };
  if (snapshots.length === 0) return null;
  return (
    <>
      <form className="begin spaced" onSubmit={submit} aria-label="Begin an analysis session">
        <label>
          Name{" "}
          <input type="text" value={name} maxLength={80} required onChange={(event) => setName(event.target.value)} placeholder="what you want to find out" />
        </label>
        <label>
          Snapshot{" "}
          <select value={snapshot} onChange={(event) => setChosen(event.target.value)}>
            {snapshots.map((each) => (
              <option key={each.id} value={each.id}>
                {each.name}
              </option>
            ))}
          </select>
        </label>
        <button type="submit" className="button primary" disabled={begin.isPending || name.trim() === ""}>
          Begin
        </button>
      </form>
      {begin.isError && <Refusal problem={begin.error} />}
    </>
  );
}
