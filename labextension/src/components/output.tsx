import React, { useEffect, useRef, useState } from 'react';

import { problemOf } from '../requests';
import type * as Api from '../schema';
import { settled } from '../terminal';
import { CommandIDs } from '../tokens';
import { useMachines, usePanel } from './context';
import { elapsed } from './jobs';
import { ProblemBox, Ticking } from './parts';

/** Milliseconds between two looks at an output that somebody reads. */
const EVERY = 1500;
/** Characters that are kept on the page. */
const KEPT = 500_000;
/** Codes of problems that time does not mend. */
const GONE = ['job', 'not-found'];
/** Pixels from the end within which new lines are scrolled to. */
const NEAR = 40;

/** What a job has put out, as it comes. */
export function OutputView({ id, visible }: { id: number; visible: boolean }): React.JSX.Element {
  const { commands, trans } = usePanel();
  const machines = useMachines();
  const { requests } = machines;
  const [said, setSaid] = useState<{ run: Api.Run; text: string } | null>(null);
  const [problem, setProblem] = useState<Api.Problem | null>(null);
  const end = useRef<HTMLDivElement>(null);
  const place = useRef({ next: 0, over: false });
  useEffect(() => {
    let timer = 0;
    let left = !visible;
    const look = async (): Promise<void> => {
      try {
        const since = place.current.next;
        const got = await requests.output(id, since);
        place.current = { next: got.next, over: got.ended };
        const box = end.current?.closest('.jp-GpuRemote-log');
        const follows = box && box.scrollHeight - box.scrollTop - box.clientHeight < NEAR;
        setSaid(before => ({
          run: got.run,
          text: ((got.start === since ? (before?.text ?? '') : '') + got.text).slice(-KEPT)
        }));
        setProblem(null);
        if (follows) {
          window.requestAnimationFrame(() => end.current?.scrollIntoView());
        }
      } catch (error) {
        const why = problemOf(error);
        setProblem(why);
        place.current.over = GONE.includes(why.code);
      }
      if (!left && !place.current.over) {
        timer = window.setTimeout(() => void look(), EVERY);
      }
    };
    if (visible && !place.current.over) {
      void look();
    }
    return () => {
      left = true;
      window.clearTimeout(timer);
    };
  }, [requests, id, visible]);
  const run = machines.runs.find(one => one.id === id) ?? said?.run;
  return (
    <>
      <h2>{run ? run.title || trans.__('a cell') : trans.__('Job %1', id)}</h2>
      {run ? (
        <div className="jp-GpuRemote-row">
          <Ticking
            className="jp-GpuRemote-meta"
            text={now =>
              [trans.__('job %1', id), run.machine, run.state, elapsed(run, now), run.note]
                .filter(Boolean)
                .join(' · ')
            }
          />
          {run.state === 'running' ? (
            <button
              type="button"
              className="jp-GpuRemote-small"
              onClick={() => void commands.execute(CommandIDs.cancelRun, { job: id })}
            >
              {trans.__('Cancel…')}
            </button>
          ) : null}
        </div>
      ) : null}
      {problem ? <ProblemBox problem={problem} /> : null}
      {problem && !said ? null : (
        <pre aria-label={trans.__('Output')}>
          {said ? settled(said.text) || trans.__('nothing yet') : trans.__('asking…')}
        </pre>
      )}
      <div ref={end} />
    </>
  );
}
