import { Dialog, ReactWidget, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import React, { useCallback } from 'react';

import { useAnswer } from './components/context';
import type * as Api from './schema';
import type { IGpuMachines } from './tokens';

/** Ask whether a machine shall be deleted or stopped, saying what is lost and what is saved. */
export async function confirmEnd(
  machines: IGpuMachines,
  machine: Api.Machine,
  how: 'delete' | 'stop',
  trans: TranslationBundle
): Promise<boolean> {
  const verb = how === 'delete' ? trans.__('Delete') : trans.__('Stop');
  const result = await showDialog({
    title: `${verb} ${machine.name}?`,
    body: ReactWidget.create(<Goodbye {...{ machines, machine, how, trans }} />),
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: verb })],
    defaultButton: 0
  });
  return result.button.accept;
}

/** Ask whether a bucket shall be unmounted, naming what is not in it yet; null when it shall not. */
export async function confirmUnmount(
  machine: string,
  mount: Api.Mount,
  trans: TranslationBundle
): Promise<'now' | 'sent' | null> {
  const title = trans.__('Unmount %1 on %2?', mount.path, machine);
  const cancel = Dialog.cancelButton();
  const wait = Dialog.okButton({ label: trans.__('Send it, then unmount'), actions: ['sent'] });
  const now = Dialog.warnButton({ label: trans.__('Unmount now'), actions: ['now'] });
  const result = mount.unsent
    ? await showDialog({
        title,
        body: trans.__(
          'Not in %1 yet: %2. Unmounted now, it stays on the machine only, and ends with it.',
          mount.url,
          unsent(mount)
        ),
        buttons: [cancel, now, wait],
        defaultButton: 0
      })
    : await showDialog({
        title,
        body: trans.__('All that was written is in %1.', mount.url),
        buttons: [cancel, Dialog.okButton({ label: trans.__('Unmount'), actions: ['sent'] })]
      });
  const [how] = result.button.actions;
  return result.button.accept && (how === 'now' || how === 'sent') ? how : null;
}

/** The names of what is not in a bucket yet. */
export function unsent(mount: Api.Mount): string {
  const more = mount.unsent - mount.names.length;
  return mount.names.join(', ') + (more > 0 ? ` + ${more}` : '');
}

function Goodbye(props: {
  machines: IGpuMachines;
  machine: Api.Machine;
  how: 'delete' | 'stop';
  trans: TranslationBundle;
}): React.JSX.Element {
  const { machines, machine, how, trans } = props;
  const { requests } = machines;
  const { name } = machine;
  const ask = useCallback(() => requests.files(name), [requests, name]);
  const { answer, problem } = useAnswer(ask);
  const files = answer
    ? counted(answer.folders, trans)
    : (problem?.message ?? trans.__('looking for changed files…'));
  const kernels = machines.status(machine.name)?.kernels ?? [];
  const running = kernels.some(kernel => kernel.running);
  return (
    <div className="jp-GpuRemote-goodbye">
      <p>{machine.offer.title}</p>
      <p>
        <b>{trans.__('Saved:')}</b>{' '}
        {trans.__('what changed in your notebook folders is fetched first')} ({files});{' '}
        {trans.__('outputs in notebooks stay.')}
      </p>
      <p>
        <b>{trans.__('Lost:')}</b>{' '}
        {running ? <b>{trans.__('a cell that runs there now, ')}</b> : null}
        {trans.__('the variables of its kernels')}
        {how === 'delete' ? trans.__(', and everything outside those folders.') : '.'}
      </p>
      {how === 'stop' && machine.offer.stopped_price ? (
        <p>{trans.__('Its disk goes on costing $%1/h.', machine.offer.stopped_price.toFixed(3))}</p>
      ) : null}
    </div>
  );
}

function counted(folders: readonly Api.SyncedFolder[], trans: TranslationBundle): string {
  const problem = folders.find(folder => folder.problem)?.problem;
  if (problem) {
    return problem.message;
  }
  const count = folders.reduce((sum, folder) => sum + folder.back.length + folder.more, 0);
  return count ? trans._n('%1 file', '%1 files', count) : trans.__('nothing is left to fetch');
}
