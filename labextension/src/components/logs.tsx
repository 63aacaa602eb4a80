import React, { useEffect, useState } from 'react';

import { percent } from '../format';
import { KEPT_FIGURES } from '../manager';
import { problemOf } from '../requests';
import type * as Api from '../schema';
import { line } from './activity';
import { what } from './card';
import { useMachines, usePanel } from './context';
import { ProblemBox, Sparkline } from './parts';

/** Milliseconds between two looks at a log that somebody reads. */
const EVERY = 5000;

/** What happened to a machine, what its agent wrote, and its GPUs at work. */
export function LogView({ name, visible }: { name: string; visible: boolean }): React.JSX.Element {
  const { trans } = usePanel();
  const machines = useMachines();
  const [logs, setLogs] = useState<Api.Logs | null>(null);
  const [problem, setProblem] = useState<Api.Problem | null>(null);
  const machine = machines.get(name);
  useEffect(() => {
    if (!visible) {
      return undefined;
    }
    let timer = 0;
    let over = false;
    const look = async (): Promise<void> => {
      try {
        setLogs(await machines.requests.logs(name));
        setProblem(null);
      } catch (error) {
        setProblem(problemOf(error));
      }
      if (!over) {
        timer = window.setTimeout(() => void look(), EVERY);
      }
    };
    void look();
    return () => {
      over = true;
      window.clearTimeout(timer);
    };
  }, [machines, name, visible]);
  const gpus = machines.status(name)?.gpus ?? [];
  return (
    <>
      <h2>
        {name}
        {machine ? ` · ${what(machine.offer, trans)} · ${machine.state}` : ''}
      </h2>
      {problem ? <ProblemBox problem={problem} /> : null}
      {gpus.length ? (
        <div className="jp-GpuRemote-chart">
          <Sparkline
            figures={machines.history(name)}
            most={KEPT_FIGURES}
            label={trans.__('GPU use over the last minutes')}
          />
          {gpus.map((gpu, i) => (
            <p key={i} className="jp-GpuRemote-meta">
              {gpu.name}: {percent(gpu.use / 100)} · {(gpu.memory / 1024).toFixed(1)}/
              {(gpu.memory_total / 1024).toFixed(0)} GB
            </p>
          ))}
        </div>
      ) : null}
      <h3>{trans.__('What happened')}</h3>
      <pre>{logs?.events.map(line).join('\n') ?? trans.__('asking…')}</pre>
      <h3>{trans.__('What its agent wrote')}</h3>
      {logs?.problem ? <ProblemBox problem={logs.problem} /> : null}
      <pre>{logs?.agent ?? trans.__('nothing')}</pre>
    </>
  );
}
