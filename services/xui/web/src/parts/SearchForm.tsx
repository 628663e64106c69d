import { type FormEvent, useCallback, useEffect, useRef, useState } from "react";
import { ACCEPTED, keepPicture, pictureOf, useDroppedPictures } from "./pictures";
import type { Asked } from "./query";
import { Refusal } from "./states";

interface Props {
  asked: Asked;
  readsText: boolean;
  change: (part: Partial<Asked>) => void;
  enterResults: () => void;
}

export function SearchForm({ asked, readsText, change, enterResults }: Props) {
  const [text, setText] = useState(asked.text);
  const [problem, setProblem] = useState<unknown>(null);
  const [over, setOver] = useState(false);
  const box = useRef<HTMLInputElement>(null);
  const chooser = useRef<HTMLInputElement>(null);
  useEffect(() => setText(asked.text), [asked.text]);
  useFocusKey(box);
  const take = useCallback(
    (file: File) => {
      setProblem(null);
      keepPicture(file).then((picture) => change({ picture }), setProblem);
    },
    [change],
  );
  useDroppedPictures(take, setOver);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change({ text: text.trim() });
  };
  return (
    <form role="search" className="searchform" onSubmit={submit} aria-label="Find components">
      <div className="searchrow">
        <div className="searchbox">
          <input
            ref={box}
            type="search"
            aria-label="Search by text"
            aria-keyshortcuts="/"
            placeholder={readsText ? "Describe what a component should respond to, e.g. a cat" : "This encoder reads no text"}
            value={text}
            maxLength={200}
            disabled={!readsText}
            autoComplete="off"
            spellCheck={false}
            onChange={(event) => setText(event.target.value)}
            onKeyDown={(event) => {
              if (event.key !== "ArrowDown") return;
              event.preventDefault();
              enterResults();
            }}
          />
          <kbd aria-hidden="true">/</kbd>
        </div>
        <button type="submit" className="button primary" disabled={!readsText}>
          Search
        </button>
        <button type="button" className="button" onClick={() => chooser.current?.click()}>
          Picture …
        </button>
        <input
          ref={chooser}
          type="file"
          accept={ACCEPTED}
          hidden
          aria-label="Choose a picture"
          onChange={(event) => {
            const file = event.target.files?.[0];
            if (file) take(file);
            event.target.value = "";
          }}
        />
      </div>
      <Terms asked={asked} change={change} />
      {problem !== null && <Refusal problem={problem} />}
      {over && <div className="dropzone">Drop a picture to search with it</div>}
    </form>
  );
}

/** The parts of the query that are not text, each removable. */
function Terms({ asked, change }: Pick<Props, "asked" | "change">) {
  const picture = pictureOf(asked.picture);
  if (asked.like === null && asked.sample === null && asked.picture === null)
    return <p className="muted small hint">You can also drop or paste a picture anywhere on this page.</p>;
  return (
    <ul className="terms" aria-label="Further search terms">
      {asked.like !== null && (
        <Term remove={() => change({ like: null })} name="component">
          like{" "}
          <b>
            {asked.like.layer} · {asked.like.index}
            {asked.like.sign === -1 && " · −"}
          </b>
        </Term>
      )}
      {asked.sample !== null && (
        <Term remove={() => change({ sample: null })} name="sample">
          like picture <b>{asked.sample}</b> of the dataset
        </Term>
      )}
      {asked.picture !== null && (
        <Term remove={() => change({ picture: null })} name="picture">
          {picture ? <img src={picture.preview} alt="" height="32" /> : null}
          {picture ? picture.name : "this picture is not kept across reloads: choose it again"}
        </Term>
      )}
    </ul>
  );
}

function Term({ name, remove, children }: { name: string; remove: () => void; children: React.ReactNode }) {
  return (
    <li className="term">
      <span>{children}</span>
      <button type="button" className="button quiet small" aria-label={`Remove the ${name}`} onClick={remove}>
        <span aria-hidden="true">×</span>
      </button>
    </li>
  );
}

/** `/` leads to the text box from anywhere but another field. */
function useFocusKey(box: React.RefObject<HTMLInputElement | null>): void {
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      const inField = event.target instanceof HTMLElement && event.target.closest("input, textarea, select") !== null;
      if (event.key !== "/" || inField || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      box.current?.focus();
      box.current?.select();
    };
    window.addEventListener("keydown", listen);
    return () => window.removeEventListener("keydown", listen);
  }, [box]);
}
