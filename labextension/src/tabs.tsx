/** Logs of machines and outputs of jobs in tabs of their own, which a reload brings back. */

import type { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import React from 'react';

import type { IPanel } from './components/context';
import { LogView } from './components/logs';
import { OutputView } from './components/output';
import { gpuIcon } from './icons';
import { CommandIDs } from './tokens';
import { TabWidget } from './widgets';

export function addTabs(
  app: JupyterFrontEnd,
  panel: IPanel,
  restorer: ILayoutRestorer | null
): void {
  const { trans } = panel;
  addTab({
    app,
    panel,
    restorer,
    kind: 'log',
    command: CommandIDs.openLogs,
    argument: 'machine',
    label: trans.__('Logs of a GPU Machine by Its Name'),
    title: machine => machine,
    draw: (machine, visible) => <LogView name={machine} visible={visible} />
  });
  addTab({
    app,
    panel,
    restorer,
    kind: 'output',
    command: CommandIDs.openOutput,
    argument: 'job',
    label: trans.__('Output of a Job by Its Number'),
    title: job => trans.__('job %1', job),
    draw: (job, visible) => <OutputView id={Number(job)} visible={visible} />
  });
}

interface ITab {
  app: JupyterFrontEnd;
  panel: IPanel;
  restorer: ILayoutRestorer | null;
  kind: string;
  command: string;
  /** The command's argument, which tells one tab from another. */
  argument: string;
  label: string;
  title: (key: string) => string;
  draw: (key: string, visible: boolean) => React.JSX.Element;
}

function addTab(tab: ITab): void {
  const { app, panel, restorer, kind, command, argument, label, title, draw } = tab;
  const tracker = new WidgetTracker<MainAreaWidget<TabWidget>>({ namespace: `gpu-remote-${kind}` });
  const args = {
    type: 'object',
    required: [argument],
    properties: { [argument]: { type: 'string' } }
  };
  app.commands.addCommand(command, {
    label,
    describedBy: { args },
    execute: async given => {
      const key = given[argument] as string;
      let widget = tracker.find(one => one.content.key === key);
      if (!widget) {
        widget = new MainAreaWidget({ content: new TabWidget(panel, key, draw) });
        widget.id = `jp-gpu-remote-${kind}-${key}`;
        widget.title.label = title(key);
        widget.title.icon = gpuIcon;
        widget.title.closable = true;
        app.shell.add(widget, 'main');
        await tracker.add(widget);
      }
      app.shell.activateById(widget.id);
    }
  });
  void restorer?.restore(tracker, {
    command,
    args: widget => ({ [argument]: widget.content.key }),
    name: widget => widget.content.key
  });
}
