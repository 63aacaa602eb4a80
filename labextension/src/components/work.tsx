/** Work on a machine: how far it is, and what became of it. */

import React from 'react';

import { duration } from '../format';
import { isRunning } from '../manager';
import type * as Api from '../schema';
import { CommandIDs } from '../tokens';
import { usePanel } from './context';
import { ProblemBox, Ticking } from './parts';

/** How far the work on a machine is. */
export function Progress({ job }: { job: Api.Job | undefined }): React.JSX.Element | null {
  const { machines, trans } = usePanel();
  if (!job || !isRunning(job)) {
    return null;
  }
  const share = job.progress ?? (job.steps ? job.step / job.steps : null);
  return (
    <div className="jp-GpuRemote-progress">
      <div className="jp-GpuRemote-row">
        <Ticking
          className="jp-GpuRemote-meta"
          text={now => `${job.text || job.phase || job.kind}… ${duration(now - job.began_at)}`}
        />
        {job.cancellable && job.state === 'running' ? (
          <button
            type="button"
            className="jp-GpuRemote-small"
            title={trans.__('Nothing is left behind')}
            onClick={() => void machines.requests.endJob(job.id)}
          >
            {trans.__('Cancel')}
          </button>
        ) : null}
      </div>
      <progress max={1} aria-label={job.kind} {...(share === null ? {} : { value: share })} />
    </div>
  );
}

export function Problems(props: {
  machine: Api.Machine;
  job: Api.Job | undefined;
  blamed: Api.Problem | undefined;
}): React.JSX.Element | null {
  const { machine, job, blamed } = props;
  const { machines, commands, trans } = usePanel();
  const anyway = (): void => {
    const command = job?.kind === 'stop' ? CommandIDs.stop : CommandIDs.deleteMachine;
    void commands.execute(command, { machine: machine.name, anyway: true });
  };
  if (blamed) {
    return (
      <ProblemBox problem={blamed}>
        <button
          type="button"
          className="jp-GpuRemote-small"
          onClick={() => {
            machines.blame(machine.name, null);
          }}
        >
          {trans.__('Dismiss')}
        </button>
      </ProblemBox>
    );
  }
  if (job?.interrupted && job.state === 'done') {
    return (
      <div role="status" className="jp-GpuRemote-notice">
        <p>{job.said.join(' ')}</p>
        <div className="jp-GpuRemote-actions">
          <Dismiss job={job} />
        </div>
      </div>
    );
  }
  if (!job?.problem) {
    return null;
  }
  const ends = (job.kind === 'delete' || job.kind === 'stop') && machine.actions.includes('delete');
  return (
    <ProblemBox problem={job.problem}>
      {ends ? (
        <button type="button" className="jp-GpuRemote-small" onClick={anyway}>
          {job.kind === 'stop' ? trans.__('Stop it anyway') : trans.__('Delete it anyway')}
        </button>
      ) : null}
      <Dismiss job={job} />
    </ProblemBox>
  );
}

/** Takes what became of a job away. */
export function Dismiss({ job }: { job: Api.Job }): React.JSX.Element {
  const { machines, trans } = usePanel();
  return (
    <button
      type="button"
      className="jp-GpuRemote-small"
      onClick={() => void machines.requests.endJob(job.id).then(() => machines.refresh())}
    >
      {trans.__('Dismiss')}
    </button>
  );
}
