import {
  ILabShell,
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRunningSessionManagers } from '@jupyterlab/running';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { addCommands } from './commands';
import type { IPanel } from './components/context';
import { gpuIcon } from './icons';
import { GpuMachines } from './manager';
import { Notebooks } from './notebooks';
import { DEFAULTS, PLUGIN, readPreferences } from './preferences';
import { runningMachines } from './running';
import { CostWidget } from './statusbar';
import { toastLaunches } from './toasts';
import { CommandIDs, IGpuMachines } from './tokens';
import { LogWidget, SidebarWidget } from './widgets';

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
    addCommands({
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
    });
    addLogs(app, panel, restorer);

    toastLaunches(machines, commands, () => preferences.notifications, trans);
    running?.add(runningMachines(machines, commands, trans));
    const category = trans.__('GPU machines');
    for (const command of Object.values(CommandIDs)) {
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

/** Logs of machines in tabs of their own, which a reload brings back. */
function addLogs(app: JupyterFrontEnd, panel: IPanel, restorer: ILayoutRestorer | null): void {
  const tracker = new WidgetTracker<MainAreaWidget<LogWidget>>({ namespace: 'gpu-remote-logs' });
  app.commands.addCommand(CommandIDs.openLogs, {
    label: panel.trans.__('Logs of a GPU Machine by Its Name'),
    describedBy: {
      args: { type: 'object', required: ['machine'], properties: { machine: { type: 'string' } } }
    },
    execute: async args => {
      const machine = args['machine'] as string;
      let widget = tracker.find(one => one.content.machine === machine);
      if (!widget) {
        widget = new MainAreaWidget({ content: new LogWidget(panel, machine) });
        widget.id = `jp-gpu-remote-log-${machine}`;
        widget.title.label = machine;
        widget.title.icon = gpuIcon;
        widget.title.closable = true;
        app.shell.add(widget, 'main');
        await tracker.add(widget);
      }
      app.shell.activateById(widget.id);
    }
  });
  void restorer?.restore(tracker, {
    command: CommandIDs.openLogs,
    args: widget => ({ machine: widget.content.machine }),
    name: widget => widget.content.machine
  });
}

export default [machinesPlugin, panelPlugin];
