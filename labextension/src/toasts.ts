import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';

import { isRunning } from './manager';
import { tellOutside } from './outside';
import type * as Api from './schema';
import { CommandIDs, type IGpuMachines } from './tokens';

/** Milliseconds for which good news are shown. */
const GOOD_NEWS = 8000;

/** Tell of launches as they go on, so that nobody needs to keep the panel open. */
export function toastLaunches(
  machines: IGpuMachines,
  commands: CommandRegistry,
  wanted: () => boolean,
  trans: TranslationBundle
): void {
  const shown = new Map<string, string>();
  machines.jobChanged.connect((_, job) => {
    if (job.kind !== 'launch') {
      return;
    }
    const id = shown.get(job.id);
    if (id === '') {
      return;
    }
    const what = job.request?.gpu || trans.__('a machine');
    if (isRunning(job)) {
      const steps = job.steps ? ` (${job.step}/${job.steps})` : '';
      const message = trans.__('Launching %1: %2', what, (job.text || job.phase || '…') + steps);
      if (id) {
        Notification.update({ id, message, type: 'in-progress' });
      } else if (wanted()) {
        const actions = [show(commands, trans)];
        shown.set(job.id, Notification.emit(message, 'in-progress', { autoClose: false, actions }));
      }
    } else if (!id && job.interrupted && wanted()) {
      // nobody on this page saw it begin
      shown.set(job.id, '');
      Notification.emit(job.problem?.message ?? job.said.join(' '), 'warning', {
        autoClose: false,
        actions: [show(commands, trans)]
      });
    } else if (id) {
      shown.delete(job.id);
      Notification.update({ id, ...ending(job, what, machines, commands, trans) });
    }
  });
}

const TYPES: Record<string, Notification.TypeOptions> = { done: 'success', cancelled: 'info' };

/** Tell of jobs that ended, also outside of the page while nobody looks at it. */
export function toastJobs(
  machines: IGpuMachines,
  commands: CommandRegistry,
  wanted: () => boolean,
  trans: TranslationBundle
): void {
  machines.runEnded.connect((_, run) => {
    if (!wanted()) {
      return;
    }
    const words: Record<string, string> = {
      done: trans.__('Job %1 is done', run.id),
      cancelled: trans.__('Job %1 was cancelled', run.id),
      lost: trans.__('Job %1 is lost', run.id)
    };
    const what = words[run.state] ?? trans.__('Job %1 failed', run.id);
    const details = [run.title, run.note, run.machine].filter(Boolean).join(' · ');
    const show = (): void => void commands.execute(CommandIDs.openOutput, { job: String(run.id) });
    const type = TYPES[run.state] ?? 'error';
    Notification.emit(`${what}: ${details}`, type, {
      autoClose: type === 'error' ? false : GOOD_NEWS,
      actions: run.state === 'lost' ? [] : [{ label: trans.__('Output'), callback: show }]
    });
    tellOutside(what, details, `gpu-remote-job-${run.id}`, show);
  });
}

function ending(
  job: Api.Job,
  what: string,
  machines: IGpuMachines,
  commands: CommandRegistry,
  trans: TranslationBundle
): Omit<Notification.IUpdate<string>, 'id'> {
  if (job.state === 'failed') {
    const { message = '', billed = '' } = job.problem ?? {};
    const why = [message, billed].filter(Boolean).join(' ');
    return {
      type: 'error',
      message: trans.__('%1 could not be launched. %2', what, why),
      autoClose: false,
      actions: [show(commands, trans)]
    };
  }
  if (job.state === 'cancelled') {
    const message = trans.__('The launch of %1 was cancelled.', what);
    return { type: 'info', message, autoClose: GOOD_NEWS, actions: [] };
  }
  const machine = job.machine ?? '';
  const title = machines.get(machine)?.offer.title ?? what;
  return {
    type: 'success',
    message: trans.__('%1 is ready: %2', machine, title),
    autoClose: GOOD_NEWS,
    actions: job.notebook
      ? []
      : [
          {
            label: trans.__('Run this notebook there'),
            callback: () => void commands.execute(CommandIDs.runHere, { machine })
          }
        ]
  };
}

function show(commands: CommandRegistry, trans: TranslationBundle): Notification.IAction {
  return {
    label: trans.__('Show'),
    callback: event => {
      event.preventDefault(); // it stays
      void commands.execute(CommandIDs.show);
    }
  };
}
