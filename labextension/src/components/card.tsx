import type { TranslationBundle } from '@jupyterlab/translation';
import {
  closeIcon,
  listIcon,
  deleteIcon,
  runIcon,
  stopIcon,
  terminalIcon
} from '@jupyterlab/ui-components';
import React, { memo } from 'react';

import { basename, clock, duration, money, percent } from '../format';
import { isRunning, KEPT_FIGURES } from '../manager';
import type * as Api from '../schema';
import { CommandIDs } from '../tokens';
import { useNotebook, usePanel } from './context';
import { IconButton, Sparkline, Ticking } from './parts';
import { Problems, Progress } from './work';

interface IProps {
  machine: Api.Machine;
  status: Api.Status | undefined;
  job: Api.Job | undefined;
  history: readonly number[];
  blamed: Api.Problem | undefined;
}

/** One machine: what it is, does and costs, and what can be done with it. */
export const Card = memo(function Card(props: IProps): React.JSX.Element {
  const { machine, status, job } = props;
  const { trans } = usePanel();
  const over = machine.state === 'preempted' || machine.state === 'failed';
  return (
    <li className="jp-GpuRemote-card" data-machine={machine.name} data-state={machine.state}>
      <div className="jp-GpuRemote-row">
        <b className="jp-GpuRemote-name" title={machine.offer.title}>
          {what(machine.offer, trans)}
        </b>
        <Chip machine={machine} job={job} />
      </div>
      <div className="jp-GpuRemote-meta" title={machine.offer.machine_type}>
        {machine.name} · {where(machine.offer)}
      </div>
      {over ? <Over {...props} /> : <Alive {...props} />}
      <Progress job={job} />
      <Problems {...props} />
      {!over && status?.problem && !job ? (
        <p className="jp-GpuRemote-meta" title={status.problem.message}>
          {trans.__('It does not answer now. It ends by itself when it is idle.')}
        </p>
      ) : null}
    </li>
  );
});

export function what(offer: Api.Offer, trans: TranslationBundle): string {
  if (offer.stand_in_for) {
    return trans.__('CPU for %1', offer.stand_in_for);
  }
  return (offer.gpu || trans.__('CPU')) + (offer.count > 1 ? ` ×${offer.count}` : '');
}

function where(offer: Api.Offer): string {
  const discount = offer.on_demand_price ? 1 - offer.price / offer.on_demand_price : 0;
  const spot = offer.spot ? `spot${discount > 0 ? ` −${percent(discount)}` : ''}` : '';
  return [[offer.provider, offer.zone || offer.region].filter(Boolean).join(' '), spot]
    .filter(Boolean)
    .join(' · ');
}

function Chip(props: { machine: Api.Machine; job: Api.Job | undefined }): React.JSX.Element {
  const { machine, job } = props;
  const steps =
    job && isRunning(job) && job.kind === 'launch' && job.steps ? ` ${job.step}/${job.steps}` : '';
  return (
    <span className="jp-GpuRemote-chip" data-state={machine.state}>
      {machine.state}
      {steps}
    </span>
  );
}

function Alive({ machine, status, history }: IProps): React.JSX.Element {
  const { machines, commands, trans, preferences } = usePanel();
  const run = (command: string) => () => void commands.execute(command, { machine: machine.name });
  const can = (action: Api.Machine['actions'][number]): boolean => machine.actions.includes(action);
  return (
    <>
      <div className="jp-GpuRemote-meta">
        <Ticking
          text={now =>
            [
              machine.rate ? `${money(machine.rate)}/h` : trans.__('free'),
              machine.rate || machine.spent
                ? trans.__('spent %1', money(machines.spent(machine.name)))
                : '',
              duration(now - machine.created_at)
            ]
              .filter(Boolean)
              .join(' · ')
          }
        />
      </div>
      {status && !status.problem && status.at ? <Load status={status} history={history} /> : null}
      {status?.ends_in !== null && status?.ends_in !== undefined && status.at ? (
        <div className="jp-GpuRemote-row">
          <Ticking
            className="jp-GpuRemote-meta"
            title={status.ends_why ?? ''}
            text={now => {
              const words = status.kernels.some(kernel => kernel.running)
                ? 'ends in %1'
                : 'unused: %1 left';
              return trans.__(words, left(status, now));
            }}
          />
          {can('extend') ? (
            <button
              type="button"
              className="jp-GpuRemote-small"
              title={trans.__('Keep it for %1 minutes from now', preferences().extendMinutes)}
              onClick={run(CommandIDs.extend)}
            >
              +{preferences().extendMinutes} m
            </button>
          ) : null}
        </div>
      ) : null}
      {machine.notebooks.map(path => (
        <div className="jp-GpuRemote-meta" key={path} title={path}>
          ◉ {trans.__('%1 connected', basename(path))}
        </div>
      ))}
      <div className="jp-GpuRemote-actions">
        {can('connect') ? <Switch machine={machine} /> : null}
        {can('start') ? (
          <IconButton icon={runIcon} label={trans.__('Start')} onClick={run(CommandIDs.start)} />
        ) : null}
        {machine.ssh_command ? (
          <IconButton
            icon={terminalIcon}
            label={trans.__('Terminal')}
            onClick={run(CommandIDs.terminal)}
          />
        ) : null}
        <IconButton icon={listIcon} label={trans.__('Logs')} onClick={run(CommandIDs.logs)} />
        {can('stop') ? (
          <IconButton icon={stopIcon} label={trans.__('Stop…')} onClick={run(CommandIDs.stop)} />
        ) : null}
        {can('delete') ? (
          <IconButton
            icon={deleteIcon}
            label={trans.__('Delete…')}
            onClick={run(CommandIDs.deleteMachine)}
          />
        ) : null}
      </div>
    </>
  );
}

/** Moves the open notebook to a machine, or back. */
function Switch({ machine }: { machine: Api.Machine }): React.JSX.Element {
  const { commands, notebooks, trans } = usePanel();
  const panel = useNotebook();
  const isHere = panel && notebooks.runsOn(panel, machine);
  return (
    <button
      type="button"
      className={isHere ? 'jp-GpuRemote-small' : 'jp-GpuRemote-main'}
      title={
        isHere
          ? trans.__('Give this notebook its kernel on this computer back')
          : trans.__('Run the open notebook on this machine')
      }
      onClick={() =>
        void commands.execute(isHere ? CommandIDs.leave : CommandIDs.runHere, {
          machine: machine.name
        })
      }
    >
      {isHere ? trans.__('Leave') : trans.__('Run here')}
    </button>
  );
}

function left(status: Api.Status, now: number): string {
  return duration((status.ends_in ?? 0) - (now - (status.at ?? now)));
}

function Load(props: { status: Api.Status; history: readonly number[] }): React.JSX.Element | null {
  const { trans } = usePanel();
  const { gpus, cpu } = props.status;
  if (!gpus?.length) {
    return cpu === null ? null : (
      <div className="jp-GpuRemote-meta">{trans.__('%1 CPU cores in use', cpu.toFixed(1))}</div>
    );
  }
  const use = props.history[props.history.length - 1] ?? 0;
  const used = gpus.reduce((sum, gpu) => sum + gpu.memory, 0) / 1024;
  const total = gpus.reduce((sum, gpu) => sum + gpu.memory_total, 0) / 1024;
  return (
    <div className="jp-GpuRemote-row jp-GpuRemote-meta">
      <span className="jp-GpuRemote-figure">GPU {percent(use)}</span>
      <Sparkline
        figures={props.history}
        most={KEPT_FIGURES}
        label={trans.__('GPU use over the last minutes, now %1', percent(use))}
      />
      <span className="jp-GpuRemote-figure">
        {used.toFixed(used < 10 ? 1 : 0)}/{total.toFixed(0)} GB
      </span>
    </div>
  );
}

/** A machine that was taken back or never became one. */
function Over({ machine, job }: IProps): React.JSX.Element {
  const { machines, commands, trans } = usePanel();
  return (
    <>
      {job?.problem ? null : (
        <div role="alert" className="jp-GpuRemote-problem">
          {machine.state === 'preempted' ? (
            <p>
              <b>
                {trans.__(
                  'The cloud took it back%1.',
                  machine.ended_at ? ` ${trans.__('at %1', clock(machine.ended_at))}` : ''
                )}
              </b>
            </p>
          ) : null}
          <p>{machine.note || machine.state}</p>
          <p>{trans.__('It costs nothing any more.')}</p>
        </div>
      )}
      <div className="jp-GpuRemote-actions">
        <button
          type="button"
          className="jp-GpuRemote-main"
          onClick={() => void commands.execute(CommandIDs.relaunch, { machine: machine.name })}
        >
          {trans.__('Relaunch')}
        </button>
        <IconButton
          icon={listIcon}
          label={trans.__('Logs')}
          onClick={() => void commands.execute(CommandIDs.logs, { machine: machine.name })}
        />
        <IconButton
          icon={closeIcon}
          label={trans.__('Dismiss')}
          onClick={() => {
            machines.dismiss(machine.name);
          }}
        />
      </div>
    </>
  );
}
