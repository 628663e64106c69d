import { useState } from "react";
import type { AttributionAnswer, ClassScore, Model } from "../api/client";
import { figure, percent } from "../format";

interface Props {
  answer: AttributionAnswer;
  model: Model;
  target: number | null;
  choose: (target: number | null) => void;
}

const nameOf = (score: ClassScore): string => score.name ?? `output ${score.index}`;

/** The largest outputs, any of which can be explained, and a way to any other. */
export function Prediction({ answer, model, target, choose }: Props) {
  const among = answer.top.some((score) => score.index === answer.target.index);
  const listed = among ? answer.top : [...answer.top, answer.target];
  return (
    <section className="panel" aria-labelledby="prediction-title">
      <h2 id="prediction-title">Prediction</h2>
      <ol className="outputs" aria-label="Largest outputs">
        {listed.map((score) => (
          <li key={score.index}>
            <button type="button" className="output" aria-pressed={score.index === answer.target.index} onClick={() => choose(score.index)}>
              <span className="name">{nameOf(score)}</span>
              <span className="num">{percent(score.probability)}</span>
              <span className="track" aria-hidden="true">
                <span className="fill" style={{ width: `${score.probability * 100}%` }} />
              </span>
            </button>
          </li>
        ))}
      </ol>
      <p className="small muted">
        Explained: <b>{nameOf(answer.target)}</b>, score <span className="num">{figure(answer.target.score)}</span>
        {target !== null && (
          <>
            {" · "}
            <button type="button" className="linklike" onClick={() => choose(null)}>
              explain the largest
            </button>
          </>
        )}
      </p>
      <OtherOutput classes={model.classes ?? null} choose={choose} />
    </section>
  );
}

function OtherOutput({ classes, choose }: { classes: string[] | null; choose: (target: number) => void }) {
  const [text, setText] = useState("");
  const named = classes?.indexOf(text) ?? -1;
  const index = named >= 0 ? named : /^\d{1,9}$/.test(text.trim()) ? Number(text) : null;
  return (
    <form
      className="otheroutput"
      onSubmit={(event) => {
        event.preventDefault();
        if (index !== null) choose(index);
      }}
    >
      <label htmlFor="other-output">Why not another?</label>
      <span>
        <input
          id="other-output"
          type="text"
          list={classes ? "all-outputs" : undefined}
          placeholder={classes ? "name or number" : "number of an output"}
          value={text}
          autoComplete="off"
          onChange={(event) => setText(event.target.value)}
        />
        <button type="submit" className="button" disabled={index === null}>
          Explain
        </button>
      </span>
      {classes && (
        <datalist id="all-outputs">
          {classes.map((name, i) => (
            <option key={i} value={name} />
          ))}
        </datalist>
      )}
    </form>
  );
}
