/** What can be done with jobs, as commands. */

import { Dialog, InputDialog, showDialog, showErrorMessage } from '@jupyterlab/apputils';
import { closeIcon, type LabIcon, listIcon, stopIcon } from '@jupyterlab/ui-components';

import type { IOptions } from './commands';
import { problemOf } from './requests';
import type * as Api from './schema';
import { CommandIDs } from './tokens';

const JOB = {
  args: { type: 'object' as const, properties: { job: { type: 'integer' as const } } }
};

export function addJobCommands({ commands, machines, trans, show }: IOptions): void {
  const onJob = (
    id: string,
    label: string,
    icon: LabIcon,
    fits: (run: Api.Run) => boolean,
    execute: (run: Api.Run) => Promise<unknown>
  ): void => {
    commands.addCommand(id, {
      label,
      icon,
      describedBy: JOB,
      execute: async args => {
        const some = machines.runs.filter(fits);
        const run = some.find(one => one.id === args['job']) ?? (await pick(label, some));
        if (run) {
          try {
            await execute(run);
          } catch (error) {
            const { message, hint } = problemOf(error);
            await showErrorMessage(label, [message, hint].filter(Boolean).join(' '));
          }
        }
      }
    });
  };

  const pick = async (title: string, runs: readonly Api.Run[]): Promise<Api.Run | undefined> => {
    if (!runs.length) {
      show();
      return undefined;
    }
    const items = [...runs].reverse().map(run => `${run.id}: ${run.title}`);
    const { button, value } = await InputDialog.getItem({ title, items });
    return button.accept && value ? runs.find(run => run.id === parseInt(value)) : undefined;
  };

  const confirm = async (title: string, body: string, verb: string): Promise<boolean> => {
    const result = await showDialog({
      title,
      body,
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: verb })],
      defaultButton: 0
    });
    return result.button.accept;
  };

  onJob(
    CommandIDs.output,
    trans.__('Output of a Job'),
    listIcon,
    () => true,
    run => commands.execute(CommandIDs.openOutput, { job: String(run.id) })
  );
  onJob(
    CommandIDs.cancelRun,
    trans.__('Cancel a Job…'),
    stopIcon,
    run => run.state === 'running',
    async run => {
      const title = trans.__('Cancel job %1?', run.id);
      const body = trans.__(
        '%1 is interrupted on %2, and ended with its process where that does not help. What it has put out stays.',
        run.title,
        run.machine
      );
      if (await confirm(title, body, trans.__('Cancel the job'))) {
        await machines.requests.cancelRun(run.id);
        await machines.refresh();
      }
    }
  );
  onJob(
    CommandIDs.forgetRun,
    trans.__('Forget a Job…'),
    closeIcon,
    run => run.state !== 'running',
    async run => {
      const title = trans.__('Forget job %1?', run.id);
      const body = trans.__(
        'It is taken off the list; its output and variables are removed from %1.',
        run.machine
      );
      if (await confirm(title, body, trans.__('Forget'))) {
        await machines.requests.forgetRun(run.id);
        await machines.refresh();
      }
    }
  );
}
