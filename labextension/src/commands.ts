/** Everything that a user can do, as commands: for buttons, menus, the palette and other extensions. */

import { InputDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import {
  deleteIcon,
  downloadIcon,
  listIcon,
  refreshIcon,
  runIcon,
  settingsIcon,
  stopIcon,
  terminalIcon
} from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { confirmEnd } from './dialogs';
import { gpuIcon } from './icons';
import type { Notebooks } from './notebooks';
import { problemOf } from './requests';
import type * as Api from './schema';
import { typeInTerminal } from './setup';
import { CommandIDs, type IGpuMachines } from './tokens';

type Args = ReadonlyPartialJSONObject;

export interface IOptions {
  commands: CommandRegistry;
  machines: IGpuMachines;
  notebooks: Notebooks;
  trans: TranslationBundle;
  show: () => void;
}

const MACHINE = {
  args: { type: 'object' as const, properties: { machine: { type: 'string' as const } } }
};
const NOTHING = { args: { type: 'object' as const, properties: {} } };
const REQUEST = {
  args: {
    type: 'object' as const,
    properties: { request: { type: 'object' as const, description: 'As LaunchRequest' } }
  }
};

export function addCommands({ commands, machines, notebooks, trans, show }: IOptions): void {
  const machineOf = (args: Args): Api.Machine | undefined =>
    machines.get((args['machine'] as string | undefined) ?? '');

  /** A command on one machine; a failure is told in its card. */
  const onMachine = (
    id: string,
    label: string,
    icon: typeof gpuIcon,
    execute: (machine: Api.Machine, args: Args) => Promise<unknown>
  ): void => {
    commands.addCommand(id, {
      label,
      icon,
      describedBy: MACHINE,
      execute: async args => {
        const machine = machineOf(args) ?? (await pick(label));
        if (!machine) {
          return;
        }
        machines.blame(machine.name, null);
        try {
          await execute(machine, args);
        } catch (error) {
          machines.blame(machine.name, problemOf(error));
          show();
        }
      }
    });
  };

  const pick = async (title: string): Promise<Api.Machine | undefined> => {
    const items = machines.machines.map(machine => `${machine.name}: ${machine.offer.title}`);
    if (items.length < 2) {
      show();
      return machines.machines[0];
    }
    const { button, value } = await InputDialog.getItem({ title, items });
    return button.accept && value ? machines.get(value.split(':')[0] ?? '') : undefined;
  };

  commands.addCommand(CommandIDs.show, {
    label: args => (args['isLauncher'] ? trans.__('GPU machines') : trans.__('Show GPU Machines')),
    caption: trans.__('Launch, use, watch and end machines with GPUs'),
    icon: gpuIcon,
    describedBy: NOTHING,
    execute: show
  });
  commands.addCommand(CommandIDs.refresh, {
    label: trans.__('Ask for GPU Machines Again'),
    icon: refreshIcon,
    describedBy: NOTHING,
    execute: () => machines.refresh()
  });
  commands.addCommand(CommandIDs.settings, {
    label: trans.__('Settings of GPU Machines'),
    icon: settingsIcon,
    describedBy: NOTHING,
    isVisible: () => commands.hasCommand('settingeditor:open'),
    execute: () => commands.execute('settingeditor:open', { query: 'GPU machines' })
  });

  const launch = async (request: Api.LaunchRequest): Promise<void> => {
    show();
    machines.blame('', null);
    try {
      await machines.launch(request);
    } catch (error) {
      machines.blame('', problemOf(error));
    }
  };
  commands.addCommand(CommandIDs.launch, {
    label: trans.__('Launch a GPU Machine…'),
    caption: trans.__('Without a request it shows the form'),
    icon: gpuIcon,
    describedBy: REQUEST,
    execute: async args => {
      if (args['request']) {
        await launch(args['request'] as Api.LaunchRequest);
      } else {
        show();
        document.querySelector<HTMLElement>('.jp-GpuRemote-form select')?.focus();
      }
    }
  });
  commands.addCommand(CommandIDs.launchLocal, {
    label: trans.__('Try a GPU Machine on This Computer, for Free'),
    icon: gpuIcon,
    describedBy: NOTHING,
    execute: () => launch({ cloud: 'local' })
  });
  onMachine(
    CommandIDs.relaunch,
    trans.__('Launch Another One Like It'),
    refreshIcon,
    async machine => {
      const { gpu, stand_in_for, count, provider, spot } = machine.offer;
      const wanted = gpu || stand_in_for;
      const [notebook] = machine.notebooks;
      await launch({
        gpu: wanted && count > 1 ? `${wanted}:${count}` : wanted,
        cloud: provider,
        spot,
        ...(notebook && { notebook })
      });
      machines.dismiss(machine.name);
    }
  );

  onMachine(
    CommandIDs.deleteMachine,
    trans.__('Delete a GPU Machine…'),
    deleteIcon,
    async (machine, args) => {
      const anyway = args['anyway'] === true;
      if (
        anyway ||
        args['sure'] === true ||
        (await confirmEnd(machines, machine, 'delete', trans))
      ) {
        await machines.follow(machines.requests.delete(machine.name, anyway));
      }
    }
  );
  onMachine(CommandIDs.stop, trans.__('Stop a GPU Machine…'), stopIcon, async (machine, args) => {
    const anyway = args['anyway'] === true;
    if (anyway || (await confirmEnd(machines, machine, 'stop', trans))) {
      await machines.follow(machines.requests.stop(machine.name, anyway));
    }
  });
  onMachine(CommandIDs.start, trans.__('Start a Stopped GPU Machine'), runIcon, machine =>
    machines.follow(machines.requests.start(machine.name))
  );
  onMachine(CommandIDs.pull, trans.__('Fetch Files of a GPU Machine'), downloadIcon, machine =>
    machines.follow(machines.requests.pull(machine.name))
  );
  onMachine(CommandIDs.extend, trans.__('Keep a GPU Machine Longer'), runIcon, machine =>
    machines.extend(machine.name)
  );
  onMachine(CommandIDs.logs, trans.__('Logs of a GPU Machine'), listIcon, async machine => {
    await commands.execute(CommandIDs.openLogs, { machine: machine.name });
  });
  onMachine(
    CommandIDs.terminal,
    trans.__('Terminal on a GPU Machine'),
    terminalIcon,
    async machine => {
      if (!machine.ssh_command) {
        throw new Error(
          trans.__('%1 cannot be logged in to while it is %2.', machine.name, machine.state)
        );
      }
      // a space in front keeps it out of the shell's history
      await typeInTerminal(commands, machine.name, ` ${machine.ssh_command}\r`);
    }
  );

  onMachine(
    CommandIDs.runHere,
    trans.__('Run This Notebook on a GPU Machine'),
    gpuIcon,
    async machine => {
      if (notebooks.current) {
        await notebooks.runOn(notebooks.current, machine);
      } else {
        throw new Error(trans.__('No notebook is open. Open one, and press the button again.'));
      }
    }
  );
  const here = (): boolean => Boolean(notebooks.current);
  commands.addCommand(CommandIDs.leave, {
    label: trans.__('Run This Notebook on This Computer'),
    icon: runIcon,
    describedBy: NOTHING,
    isEnabled: here,
    execute: async () => {
      if (notebooks.current) {
        await notebooks.leave(notebooks.current);
      }
    }
  });
  commands.addCommand(CommandIDs.choose, {
    label: () => {
      const machine = notebooks.current && notebooks.machineOf(notebooks.current);
      return machine ? machine.offer.gpu || machine.name : trans.__('Run on GPU');
    },
    caption: trans.__('Choose where this notebook runs'),
    icon: gpuIcon,
    describedBy: NOTHING,
    isEnabled: here,
    execute: async () => {
      const panel = notebooks.current;
      if (!panel) {
        return;
      }
      const usable = machines.machines.filter(machine => machine.actions.includes('connect'));
      const bound = notebooks.machineOf(panel);
      const home = trans.__('this computer');
      const more = trans.__('launch a machine…');
      const items = [
        ...usable.map(machine => `${machine.name} · ${machine.offer.title}`),
        ...(bound ? [home] : []),
        more
      ];
      const { button, value } = await InputDialog.getItem({
        title: trans.__('Where shall this notebook run?'),
        items
      });
      if (!button.accept || value === null) {
        return;
      }
      const machine = usable[items.indexOf(value)];
      await commands.execute(
        machine ? CommandIDs.runHere : value === home ? CommandIDs.leave : CommandIDs.launch,
        machine ? { machine: machine.name } : {}
      );
    }
  });
  commands.addCommand(CommandIDs.runCell, {
    label: trans.__('Run This Cell Remotely'),
    caption: trans.__('Put %%remote on top of the cell and run it'),
    icon: gpuIcon,
    describedBy: NOTHING,
    isEnabled: () => notebooks.current?.content.activeCell?.model.type === 'code',
    execute: async () => {
      if (notebooks.current) {
        await notebooks.runCell(notebooks.current);
      }
    }
  });
  const changed = (): void => {
    for (const id of [CommandIDs.choose, CommandIDs.leave, CommandIDs.runCell]) {
      commands.notifyCommandChanged(id);
    }
  };
  machines.changed.connect(changed);
  notebooks.changed.connect(changed);
}
