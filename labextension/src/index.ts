import {
  ILabShell,
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRunningSessionManagers } from '@jupyterlab/running';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { addCommands } from './commands';
import type { IPanel } from './components/context';
import { addJobCommands } from './jobcommands';
import { GpuMachines } from './manager';
import { Notebooks } from './notebooks';
import { askForPermission } from './outside';
import { DEFAULTS, PLUGIN, readPreferences } from './preferences';
import { bringOutputs } from './resume';
import { runningMachines } from './running';
import { addSetUpCommand } from './setup';
import { CostWidget } from './statusbar';
import { addTabs } from './tabs';
import { toastJobs, toastLaunches } from './toasts';
import { CommandIDs, IGpuMachines } from './tokens';
import { SidebarWidget } from './widgets';

export { IGpuMachines } from './tokens';

let preferences = DEFAULTS;

/** The machines themselves, for the others below and for other extensions. */
const machinesPlugin: JupyterFrontEndPlugin<IGpuMachines> = {
  id: PLUGIN,
  description: 'Knows the machines with GPUs of this user.',
  autoStart: true,
  provides: IGpuMachines,
  optional: [ISettingRegistry],
  activate: (app, registry: ISettingRegistry | null) => {
    const machines = new GpuMachines(app.serviceManager, () => preferences);
    if (registry) {
      void readPreferences(registry, now => {
        preferences = now;
        machines.setInterval(now.refreshSeconds);
        if (now.browserNotifications) {
          askForPermission();
        }
      });
    }
    return machines;
  }
};

const panelPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-gpu-remote:panel',
  description: 'The sidebar, its commands, and what tells of machines elsewhere on the page.',
  autoStart: true,
  requires: [IGpuMachines],
  optional: [
    ITranslator,
    ILabShell,
    ILayoutRestorer,
    IStateDB,
    INotebookTracker,
    ICommandPalette,
    ILauncher,
    IStatusBar,
    IRunningSessionManagers
  ],
  activate: (
    app: JupyterFrontEnd,
    machines: IGpuMachines,
    translator: ITranslator | null,
    labShell: ILabShell | null,
    restorer: ILayoutRestorer | null,
    state: IStateDB | null,
    tracker: INotebookTracker | null,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    statusBar: IStatusBar | null,
    running: IRunningSessionManagers | null
  ) => {
    const trans = (translator ?? nullTranslator).load('jupyter_gpu_remote');
    const { commands, shell } = app;
    const notebooks = new Notebooks(machines, tracker, trans);
    const panel: IPanel = {
      machines,
      notebooks,
      commands,
      trans,
      state,
      preferences: () => preferences
    };

    const sidebar = new SidebarWidget(panel);
    shell.add(sidebar, 'left', { rank: 501, type: 'GPU machines' });
    restorer?.add(sidebar, sidebar.id);
    const options = {
      commands,
      machines,
      notebooks,
      trans,
      show: () => {
        // Notebook 7 has no such shell, and opens it by its id
        if (labShell) {
          labShell.expandLeft();
        }
        shell.activateById(sidebar.id);
      }
    };
    addCommands(options);
    addJobCommands(options);
    addSetUpCommand(options);
    addTabs(app, panel, restorer);

    if (tracker) {
      bringOutputs(tracker, machines.requests);
    }
    toastLaunches(machines, commands, () => preferences.notifications, trans);
    toastJobs(machines, commands, () => preferences.notifications, trans);
    running?.add(runningMachines(machines, commands, trans));
    const category = trans.__('GPU machines');
    const named: string[] = [CommandIDs.openLogs, CommandIDs.openOutput]; // need an argument
    for (const command of Object.values(CommandIDs).filter(id => !named.includes(id))) {
      palette?.addItem({ command, category });
    }
    launcher?.add({ command: CommandIDs.show, category: 'Other', args: { isLauncher: true } });
    if (statusBar) {
      const item = new CostWidget(panel);
      statusBar.registerStatusItem('jupyter-gpu-remote:cost', {
        item,
        align: 'right',
        rank: 90,
        isActive: () => machines.machines.length > 0,
        activeStateChanged: machines.changed as never
      });
    }
  }
};

export default [machinesPlugin, panelPlugin];
