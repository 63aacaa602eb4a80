import type { IRunningSessions } from '@jupyterlab/running';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import { Signal } from '@lumino/signaling';

import { gpuIcon } from './icons';
import type * as Api from './schema';
import { CommandIDs, type IGpuMachines } from './tokens';

/** The machines in the panel of everything that runs. */
export function runningMachines(
  machines: IGpuMachines,
  commands: CommandRegistry,
  trans: TranslationBundle
): IRunningSessions.IManager {
  const alive = (): Api.Machine[] =>
    machines.machines.filter(machine => machine.actions.includes('delete'));
  const runningChanged = new Signal<IRunningSessions.IManager, unknown>(machines as never);
  let known = '';
  machines.changed.connect(() => {
    const now = alive()
      .map(machine => machine.name + machine.state)
      .join();
    if (now !== known) {
      known = now;
      runningChanged.emit(undefined);
    }
  });
  return {
    name: trans.__('GPU machines'),
    running: () =>
      alive().map(machine => ({
        icon: () => gpuIcon,
        label: () => `${machine.name}: ${machine.offer.title}`,
        labelTitle: () => machine.state,
        detail: () => machine.state,
        open: () => void commands.execute(CommandIDs.show),
        shutdown: () => void commands.execute(CommandIDs.deleteMachine, { machine: machine.name })
      })),
    // asked about by the panel itself
    shutdownAll: () => {
      for (const { name: machine } of alive()) {
        void commands.execute(CommandIDs.deleteMachine, { machine, sure: true });
      }
    },
    refreshRunning: () => void machines.refresh(),
    runningChanged,
    shutdownLabel: trans.__('Delete'),
    shutdownAllLabel: trans.__('Delete All'),
    shutdownAllConfirmationText: trans.__(
      'Delete all GPU machines? Changed files are fetched first; the variables of their kernels are lost.'
    )
  };
}
