import { useEffect, useState } from "react";
import type { AnalysisSession, Note } from "../api/client";
import { moment } from "../format";
import { useAnalysis } from "./analysis";
import { Refusal } from "./states";

interface Draft {
  text: string;
  base: number;
}

/** A text that is being written. It survives a reload of the page. */
function useDraft(key: string) {
  const place = `xsys-draft-${key}`;
  const [draft, setDraft] = useState<Draft | null>(() => {
    const kept = sessionStorage.getItem(place);
    return kept === null ? null : (JSON.parse(kept) as Draft);
  });
  useEffect(() => {
    if (draft === null) sessionStorage.removeItem(place);
    else sessionStorage.setItem(place, JSON.stringify(draft));
  }, [draft, place]);
  return [draft, setDraft] as const;
}

export function SessionNotes({ session }: { session: AnalysisSession }) {
  const { mayEdit } = useAnalysis();
  const names = new Map(session.members.map((member) => [member.user, member.name]));
  const notes = session.state.notes ?? [];
  return (
    <section className="panel" aria-labelledby="notes-title">
      <h2 id="notes-title">
        Notes <span className="muted">{notes.length}</span>
      </h2>
      {notes.length === 0 && <p className="muted">Nothing is written yet.</p>}
      <ul className="notes" aria-label="Notes">
        {notes.map((note) => (
          <li key={note.id}>
            <NoteView note={note} names={names} seq={session.state.seq} mayEdit={mayEdit} />
          </li>
        ))}
      </ul>
      {mayEdit && <NewNote session={session.id} />}
    </section>
  );
}

function NoteView({ note, names, seq, mayEdit }: { note: Note; names: Map<string, string>; seq: number; mayEdit: boolean }) {
  const [draft, setDraft] = useDraft(note.id);
  const changed = draft !== null && note.seq > draft.base;
  const writers = note.users.map((user) => names.get(user) ?? user).join(", ");
  return (
    <>
      {draft === null ? (
        <p className="notetext">{note.text}</p>
      ) : (
        <NoteForm
          draft={draft}
          note={note.id}
          change={(text) => setDraft({ ...draft, text })}
          done={() => setDraft(null)}
          warning={changed ? "Somebody changed this note meanwhile. Both changes will be kept when you save." : null}
        />
      )}
      {note.both && draft === null && (
        <p className="notice">Two people changed the same lines; both versions stand. Edit the note to choose.</p>
      )}
      <p className="muted small noteline">
        {writers}, {moment(note.at)}
        {mayEdit && draft === null && (
          <button type="button" className="button small quiet" onClick={() => setDraft({ text: note.text, base: seq })}>
            Edit
          </button>
        )}
      </p>
    </>
  );
}

function NewNote({ session }: { session: string }) {
  const [draft, setDraft] = useDraft(`new-${session}`);
  return (
    <NoteForm
      draft={draft ?? { text: "", base: 0 }}
      note={null}
      change={(text) => setDraft(text === "" ? null : { text, base: 0 })}
      done={() => setDraft(null)}
      warning={null}
    />
  );
}

interface FormProps {
  draft: Draft;
  note: string | null;
  change: (text: string) => void;
  done: () => void;
  warning: string | null;
}

function NoteForm({ draft, note, change, done, warning }: FormProps) {
  const { act } = useAnalysis();
  const [problem, setProblem] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const name = note === null ? "New note" : "Note";
  const save = () => {
    setBusy(true);
    act({ kind: "note", note, text: draft.text, base: draft.base })
      .then(() => {
        setProblem(null);
        done();
      }, setProblem)
      .finally(() => setBusy(false));
  };
  return (
    <form
      className="noteform"
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <label>
        <span className={note === null ? undefined : "hidden"}>{name}</span>
        <textarea
          rows={note === null ? 3 : 6}
          maxLength={20000}
          value={draft.text}
          onChange={(event) => change(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
              event.preventDefault();
              if (!busy && draft.text !== "") save();
            }
          }}
        />
      </label>
      {warning !== null && (
        <p className="notice" role="status">
          {warning}
        </p>
      )}
      {problem !== null && <Refusal problem={problem} />}
      <p className="actions">
        <button type="submit" className="button primary" disabled={busy || (note === null && draft.text === "")}>
          {problem !== null ? "Try again" : note === null ? "Add note" : "Save"}
        </button>
        {note !== null && (
          <button type="button" className="button" onClick={done}>
            Cancel
          </button>
        )}
      </p>
    </form>
  );
}
