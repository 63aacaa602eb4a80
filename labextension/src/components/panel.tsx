import { addIcon, refreshIcon, settingsIcon } from '@jupyterlab/ui-components';
import React from 'react';

import { money } from '../format';
import { filledWith, type Form, formOf } from '../form';
import { isRunning } from '../manager';
import type * as Api from '../schema';
import { CommandIDs } from '../tokens';
import { Activity } from './activity';
import { Buckets } from './buckets';
import { Card } from './card';
import { Clouds } from './clouds';
import { useKept, useMachines, usePanel } from './context';
import { Files } from './files';
import { Jobs } from './jobs';
import { LaunchForm } from './launchform';
import { IconButton, ProblemBox, Section, Ticking } from './parts';
import { Prices } from './prices';
import { Dismiss, Progress } from './work';

export function Sidebar(): React.JSX.Element {
  const { commands, trans } = usePanel();
  const machines = useMachines();
  const [form, setForm] = useForm();
  const run = (command: string) => () => void commands.execute(command);
  const fill = (offer: Api.Offer): void => {
    setForm(filledWith(form, offer));
  };
  return (
    <>
      <div className="jp-GpuRemote-head jp-GpuRemote-row">
        <h2>{trans.__('GPU machines')}</h2>
        <IconButton
          icon={addIcon}
          label={trans.__('Launch a machine')}
          onClick={run(CommandIDs.launch)}
        />
        <IconButton
          icon={refreshIcon}
          label={trans.__('Ask again')}
          onClick={run(CommandIDs.refresh)}
        />
        {commands.isVisible(CommandIDs.settings) ? (
          <IconButton
            icon={settingsIcon}
            label={trans.__('Settings')}
            onClick={run(CommandIDs.settings)}
          />
        ) : null}
      </div>
      <Budget />
      {machines.problem ? <ProblemBox problem={machines.problem} /> : null}
      {machines.settings?.problem ? <ProblemBox problem={machines.settings.problem} /> : null}
      <Section name="machines" title={trans.__('Machines (%1)', machines.machines.length)}>
        {() => <Machines />}
      </Section>
      <Section name="jobs" title={trans.__('Jobs (%1)', running(machines.runs))}>
        {open => (open ? <Jobs /> : null)}
      </Section>
      <Section name="launch" title={trans.__('Launch')}>
        {open => <LaunchForm form={form} setForm={setForm} open={open} />}
      </Section>
      <Section name="prices" title={trans.__('Prices')} closed>
        {open => <Prices open={open} take={fill} />}
      </Section>
      <Section name="files" title={trans.__('Files and outputs')} closed>
        {open => <Files open={open} />}
      </Section>
      <Section name="buckets" title={trans.__('Buckets')} closed>
        {open => <Buckets open={open} />}
      </Section>
      <Section name="activity" title={trans.__('Activity')} closed>
        {open => (open ? <Activity /> : null)}
      </Section>
    </>
  );
}

function running(runs: readonly Api.Run[]): number {
  return runs.filter(run => run.state === 'running').length;
}

/** The form as it was last, or else as the user's settings have it. */
function useForm(): [Form, (form: Form) => void] {
  const { settings } = useMachines();
  const [kept, keep] = useKept<Form | null>('form', null);
  const first = settings ? formOf(settings) : EMPTY;
  return [{ ...first, ...kept }, keep];
}

const EMPTY: Form = {
  gpu: '',
  count: '1',
  cloud: '',
  on: '',
  region: '',
  spot: true,
  maxPrice: '',
  idle: '',
  maxHours: '',
  budget: '',
  mount: ''
};

function Budget(): React.JSX.Element | null {
  const { trans } = usePanel();
  const machines = useMachines();
  const { rate, dailyBudget } = machines;
  if (!rate && !machines.today && dailyBudget === null) {
    return null;
  }
  return (
    <div className="jp-GpuRemote-budget">
      <Ticking
        text={() =>
          trans.__('%1/h · today %2', money(rate), money(machines.spentToday())) +
          (dailyBudget === null ? '' : ` / ${money(dailyBudget)}`)
        }
      />
      {dailyBudget === null ? null : (
        <meter
          aria-label={trans.__('Spent of the daily budget')}
          min={0}
          max={dailyBudget || 1}
          high={0.8 * dailyBudget || 1}
          value={machines.spentToday()}
        />
      )}
    </div>
  );
}

function Machines(): React.JSX.Element {
  const { trans } = usePanel();
  const machines = useMachines();
  const jobs = new Map(machines.jobs.map(job => [job.machine, job]));
  const cards = new Set(machines.machines.map(machine => machine.name));
  const launches = machines.jobs.filter(
    job =>
      job.kind === 'launch' &&
      (isRunning(job) || job.state === 'failed') &&
      !(job.machine && cards.has(job.machine))
  );
  if (!cards.size && !launches.length) {
    return <Welcome />;
  }
  return (
    <ul className="jp-GpuRemote-cards" aria-label={trans.__('Machines')}>
      {machines.machines.map(machine => (
        <Card
          key={machine.name}
          machine={machine}
          status={machines.status(machine.name)}
          job={jobs.get(machine.name)}
          history={machines.history(machine.name)}
          blamed={machines.blamed(machine.name)}
        />
      ))}
      {launches.map(job => (
        <LaunchCard key={job.id} job={job} />
      ))}
    </ul>
  );
}

/** A launch that has no machine yet, or has failed without one. */
function LaunchCard({ job }: { job: Api.Job }): React.JSX.Element {
  const { commands, trans } = usePanel();
  const request = job.request;
  return (
    <li className="jp-GpuRemote-card" data-state={job.state} data-job={job.id}>
      <div className="jp-GpuRemote-row">
        <b className="jp-GpuRemote-name">{request?.gpu || trans.__('CPU')}</b>
        <span className="jp-GpuRemote-chip" data-state={job.state}>
          {isRunning(job) ? job.phase || trans.__('looking') : job.state}
        </span>
      </div>
      <Progress job={job} />
      {job.problem ? (
        <ProblemBox problem={job.problem}>
          {request ? (
            <button
              type="button"
              className="jp-GpuRemote-small"
              onClick={() => void commands.execute(CommandIDs.launch, { request: { ...request } })}
            >
              {trans.__('Try again')}
            </button>
          ) : null}
          <Dismiss job={job} />
        </ProblemBox>
      ) : null}
    </li>
  );
}

/** What stands there before there is any machine; never nothing. */
function Welcome(): React.JSX.Element {
  const { commands, trans } = usePanel();
  return (
    <div className="jp-GpuRemote-welcome">
      <p>
        {trans.__(
          'No machine is running, and nothing costs anything. Launch one below, or try it out for free:'
        )}
      </p>
      <button
        type="button"
        className="jp-GpuRemote-main"
        onClick={() => void commands.execute(CommandIDs.launchLocal)}
      >
        {trans.__('Try the local machine')}
      </button>
      <p className="jp-GpuRemote-meta">
        {trans.__('It is a second “machine” made on this computer: real SSH, nothing rented.')}
      </p>
      <Clouds />
    </div>
  );
}
