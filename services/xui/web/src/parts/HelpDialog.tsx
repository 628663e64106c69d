import { useEffect, useRef } from "react";
import { TourButton } from "./Tour";

const KEYS: [string, [string, string][]][] = [
  [
    "Everywhere",
    [
      ["?", "open this help"],
      ["Tab", "go on to the next thing; Shift Tab goes back"],
      ["Enter", "open a link or press a button"],
      ["Esc", "close what is open"],
    ],
  ],
  [
    "Search",
    [
      ["/", "go to the search box"],
      ["↓", "from the search box into the results"],
      ["← → ↑ ↓", "move among results; Home and End to the first and last"],
      ["p", "pin the result, or the component of the page, in your analysis session"],
    ],
  ],
  [
    "Analysis session",
    [
      ["Ctrl Enter", "save the note"],
      ["Ctrl Z", "undo your last change"],
    ],
  ],
  [
    "Map",
    [
      ["← → ↑ ↓", "move the map"],
      ["+ −", "zoom"],
      ["0", "show all of it"],
      ["Esc", "select all components again"],
    ],
  ],
];

const inField = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && target.closest("input:not([type=checkbox], [type=range]), textarea, select") !== null;

/** What can be done by keyboard; `?` opens it from anywhere but a field. */
export function HelpDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      if (event.key !== "?" || inField(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      if (!dialog.current?.open) dialog.current?.showModal();
    };
    window.addEventListener("keydown", listen);
    return () => window.removeEventListener("keydown", listen);
  }, []);
  return (
    <>
      <button type="button" className="button quiet" aria-label="Keyboard help" aria-keyshortcuts="?" onClick={() => dialog.current?.showModal()}>
        <span aria-hidden="true">?</span>
      </button>
      <dialog ref={dialog} className="large help" aria-labelledby="help-title" onClick={(event) => event.target === dialog.current && dialog.current.close()}>
        <div>
          <h2 id="help-title">Keyboard</h2>
          {KEYS.map(([place, keys]) => (
            <section key={place}>
              <h3>{place}</h3>
              <dl>
                {keys.map(([key, does]) => (
                  <div key={key}>
                    <dt>
                      <kbd className="key">{key}</kbd>
                    </dt>
                    <dd>{does}</dd>
                  </div>
                ))}
              </dl>
            </section>
          ))}
          <p className="actions">
            <TourButton then={() => dialog.current?.close()} />
            <button type="button" className="button" onClick={() => dialog.current?.close()}>
              Close
            </button>
          </p>
        </div>
      </dialog>
    </>
  );
}
