import { closeIcon, listIcon, stopIcon } from '@jupyterlab/ui-components';
import React, { memo } from 'react';

import { duration } from '../format';
import type * as Api from '../schema';
import { CommandIDs } from '../tokens';
import { useMachines, usePanel } from './context';
import { IconButton, Ticking } from './parts';

/** Jobs that are drawn. */
const MOST = 50;

/** Cells and scripts that run unattended; the newest on top. */
export function Jobs(): React.JSX.Element {
  const { trans } = usePanel();
  const { runs, moreRuns } = useMachines();
  if (!runs.length) {
    return (
      <p className="jp-GpuRemote-meta">
        {trans.__('A cell runs on unattended with %1 on top, a script with %2.', DETACH, RUN)}
      </p>
    );
  }
  const shown = [...runs].reverse().slice(0, MOST);
  const more = runs.length - shown.length + moreRuns;
  return (
    <>
      <ul className="jp-GpuRemote-cards" aria-label={trans.__('Jobs')}>
        {shown.map(run => (
          <Job key={run.id} run={run} />
        ))}
      </ul>
      {more ? (
        <p className="jp-GpuRemote-meta">{trans.__('and %1 more: %remote jobs', more)}</p>
      ) : null}
    </>
  );
}

const DETACH = '%%remote --detach';
const RUN = 'jupyter gpu-remote run';

const Job = memo(function Job({ run }: { run: Api.Run }): React.JSX.Element {
  const { commands, trans } = usePanel();
  const execute = (command: string) => () => void commands.execute(command, { job: run.id });
  const isRunning = run.state === 'running';
  return (
    <li className="jp-GpuRemote-item" data-run={run.id} data-state={run.state}>
      <div className="jp-GpuRemote-row">
        <b className="jp-GpuRemote-name" title={run.title}>
          {run.title || trans.__('a cell')}
        </b>
        <span className="jp-GpuRemote-chip">{run.state}</span>
      </div>
      <div className="jp-GpuRemote-row">
        <Ticking
          className="jp-GpuRemote-meta"
          title={run.notebook}
          text={now => [run.id, run.machine, elapsed(run, now)].filter(Boolean).join(' · ')}
        />
        <IconButton
          icon={listIcon}
          label={trans.__('Output of job %1', run.id)}
          onClick={execute(CommandIDs.output)}
        />
        {isRunning ? (
          <IconButton
            icon={stopIcon}
            label={trans.__('Cancel job %1…', run.id)}
            onClick={execute(CommandIDs.cancelRun)}
          />
        ) : (
          <IconButton
            icon={closeIcon}
            label={trans.__('Forget job %1…', run.id)}
            onClick={execute(CommandIDs.forgetRun)}
          />
        )}
      </div>
      {run.note ? <p className="jp-GpuRemote-meta">{run.note}</p> : null}
    </li>
  );
});

/** How long a job ran, or has run; empty where that is not known. */
export function elapsed(run: Api.Run, now: number): string {
  const end = run.state === 'running' ? now : run.ended_at;
  return end === null ? '' : duration(end - run.began_at);
}
