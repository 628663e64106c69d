import { useEffect, useRef } from "react";

interface Props {
  text: string;
  change: (text: string) => void;
  line: number | null;
  problem: string | null;
}

/** A policy as text with numbered lines; the line that has to change is marked, and the caret goes there. */
export function PolicyEditor({ text, change, line, problem }: Props) {
  const area = useRef<HTMLTextAreaElement>(null);
  const gutter = useRef<HTMLDivElement>(null);
  const lines = text.split("\n");
  const started = useRef(text);
  started.current = text;
  useEffect(() => {
    if (line === null || area.current === null) return;
    const before = started.current.split("\n").slice(0, line - 1).join("\n").length;
    area.current.focus();
    area.current.setSelectionRange(before + (line > 1 ? 1 : 0), before + (line > 1 ? 1 : 0));
    const height = area.current.scrollHeight / started.current.split("\n").length;
    area.current.scrollTop = Math.max(0, (line - 5) * height);
  }, [line, problem]);
  return (
    <div className="editor">
      <div className="gutter" ref={gutter} aria-hidden="true">
        {lines.map((_, i) => (
          <span key={i} className={i + 1 === line ? "bad" : undefined}>
            {i + 1}
          </span>
        ))}
      </div>
      <textarea
        ref={area}
        aria-label="Policy"
        aria-invalid={problem !== null}
        aria-describedby={problem !== null ? "policy-problem" : undefined}
        spellCheck={false}
        wrap="off"
        value={text}
        onChange={(event) => change(event.target.value)}
        onScroll={(event) => {
          if (gutter.current) gutter.current.scrollTop = event.currentTarget.scrollTop;
        }}
      />
    </div>
  );
}
