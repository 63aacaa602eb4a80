import { fileUploadIcon, stopIcon } from '@jupyterlab/ui-components';
import React, { useCallback, useEffect, useState } from 'react';

import { confirmUnmount, unsent } from '../dialogs';
import { bytes } from '../format';
import { isRunning } from '../manager';
import { problemOf } from '../requests';
import type * as Api from '../schema';
import { Browser } from './browser';
import { useAnswer, useMachines, usePanel } from './context';
import { IconButton, ProblemBox } from './parts';

/** Milliseconds between two looks at mounts: while something is on its way, and else. */
const SOON = 4000;
const LATER = 20_000;
const OURS = ['mount', 'unmount', 'flush', 'launch'];

/** What is mounted on machines, what is on its way to buckets, and what is in them. */
export function Buckets(props: { open: boolean }): React.JSX.Element | null {
  const { trans } = usePanel();
  const machines = useMachines().machines.filter(machine => machine.actions.includes('connect'));
  const [shown, show] = useState('');
  if (!props.open) {
    return null;
  }
  return (
    <>
      {machines.map(machine => (
        <Mounts key={machine.name} machine={machine.name} show={show} />
      ))}
      {machines.length ? (
        <MountForm machines={machines.map(machine => machine.name)} />
      ) : (
        <p className="jp-GpuRemote-meta">
          {trans.__('Without a machine nothing is mounted; a launch mounts what its form names.')}
        </p>
      )}
      <Browser shown={shown} show={show} />
    </>
  );
}

function Mounts(props: { machine: string; show: (url: string) => void }): React.JSX.Element {
  const { machines, trans } = usePanel();
  const { machine } = props;
  const { requests } = machines;
  const ask = useCallback(() => requests.mounts(machine), [requests, machine]);
  const { answer, problem, again } = useAnswer(ask);
  useEffect(() => {
    const wait = answer?.mounts.some(mount => mount.unsent) ? SOON : LATER;
    const timer = window.setTimeout(again, wait);
    const look = (_: unknown, job: Api.Job): void => {
      if (job.machine === machine && OURS.includes(job.kind) && !isRunning(job)) {
        again();
      }
    };
    machines.jobChanged.connect(look);
    return () => {
      window.clearTimeout(timer);
      machines.jobChanged.disconnect(look);
    };
  }, [answer, problem, again, machine, machines]);
  const failed = problem ?? answer?.problem;
  const empty = answer?.mounts.length === 0 && !failed;
  return (
    <>
      {failed ? <ProblemBox problem={failed} /> : null}
      {empty ? (
        <p className="jp-GpuRemote-meta">{trans.__('Nothing is mounted on %1.', machine)}</p>
      ) : null}
      <ul className="jp-GpuRemote-cards" aria-label={trans.__('Mounts of %1', machine)}>
        {answer?.mounts.map(mount => (
          <Mounted key={mount.path} machine={machine} mount={mount} show={props.show} />
        ))}
      </ul>
    </>
  );
}

function Mounted(props: {
  machine: string;
  mount: Api.Mount;
  show: (url: string) => void;
}): React.JSX.Element {
  const { machine, mount, show } = props;
  const { machines, trans } = usePanel();
  const { requests } = machines;
  const [problem, setProblem] = useState<Api.Problem | null>(null);
  const begin = async (job: Promise<Api.Job>): Promise<void> => {
    try {
      setProblem(null);
      await machines.follow(job);
    } catch (error) {
      setProblem(problemOf(error));
    }
  };
  const unmount = async (): Promise<void> => {
    const how = await confirmUnmount(machine, mount, trans);
    if (how) {
      await begin(requests.unmount(machine, mount.path, how === 'now'));
    }
  };
  const state = !mount.up ? 'failed' : mount.unsent ? 'running' : 'done';
  return (
    <li className="jp-GpuRemote-item" data-mount={mount.path} data-state={state}>
      <div className="jp-GpuRemote-row">
        <button
          type="button"
          className="jp-GpuRemote-link jp-GpuRemote-name"
          title={trans.__('Show what is in %1', mount.url)}
          onClick={() => {
            show(mount.url);
          }}
        >
          {mount.url}
        </button>
        <span className="jp-GpuRemote-chip">{word(mount, trans.__.bind(trans))}</span>
      </div>
      <div className="jp-GpuRemote-row">
        <span className="jp-GpuRemote-meta" title={mount.path}>
          {machine}:{mount.path}
        </span>
        {mount.unsent ? (
          <IconButton
            icon={fileUploadIcon}
            label={trans.__('Send all now')}
            onClick={() => void begin(requests.flush(machine))}
          />
        ) : null}
        <IconButton
          icon={stopIcon}
          label={trans.__('Unmount %1…', mount.path)}
          onClick={() => void unmount()}
        />
      </div>
      {mount.unsent ? (
        <p className="jp-GpuRemote-meta">
          {unsent(mount)} ({bytes(mount.unsent_bytes)})
          {mount.open.length ? ` · ${trans.__('still open: %1', mount.open.join(', '))}` : ''}
        </p>
      ) : null}
      {mount.why ? <p>{mount.why}</p> : null}
      {problem ? <ProblemBox problem={problem} /> : null}
    </li>
  );
}

function word(mount: Api.Mount, say: (text: string, ...args: unknown[]) => string): string {
  if (!mount.up) {
    return say('dropped');
  }
  return mount.unsent
    ? say('%1 unsent', mount.unsent)
    : mount.read_only
      ? say('read-only')
      : say('sent');
}

function MountForm(props: { machines: readonly string[] }): React.JSX.Element {
  const { machines, trans } = usePanel();
  const [what, setWhat] = useState('');
  const [chosen, choose] = useState('');
  const [problem, setProblem] = useState<Api.Problem | null>(null);
  const machine = props.machines.includes(chosen) ? chosen : (props.machines[0] ?? '');
  const mount = async (): Promise<void> => {
    try {
      setProblem(null);
      await machines.follow(machines.requests.mount(machine, what.trim()));
      setWhat('');
    } catch (error) {
      setProblem(problemOf(error));
    }
  };
  return (
    <form
      className="jp-GpuRemote-mount"
      aria-label={trans.__('Mount a bucket')}
      onSubmit={event => {
        event.preventDefault();
        void mount();
      }}
    >
      <div className="jp-GpuRemote-row">
        <input
          name="mounted"
          aria-label={trans.__('Bucket and place')}
          placeholder="s3://bucket/folder:~/data"
          value={what}
          onChange={event => {
            setWhat(event.target.value);
          }}
        />
        <button type="submit" className="jp-GpuRemote-small" disabled={!what.trim()}>
          {trans.__('Mount')}
        </button>
      </div>
      {props.machines.length > 1 ? (
        <select
          aria-label={trans.__('on which machine')}
          value={machine}
          onChange={event => {
            choose(event.target.value);
          }}
        >
          {props.machines.map(name => (
            <option key={name}>{name}</option>
          ))}
        </select>
      ) : null}
      {problem ? <ProblemBox problem={problem} /> : null}
    </form>
  );
}
