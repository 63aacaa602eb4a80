import { Notification } from '@jupyterlab/apputils';
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';
import { afterEach, expect, test } from 'vitest';

import { Notebooks } from '../notebooks';
import { type IRig, machine, rig } from './rig';

let it: IRig | undefined;
afterEach(() => {
  it?.machines.dispose();
  Notification.dismiss();
});

interface IOpened {
  notebooks: Notebooks;
  panel: NotebookPanel;
  pick: (name: string) => void;
}

/** A notebook of which one cell has run, or none, in a page that opens it. */
function opened(ran: boolean, says: Parameters<typeof rig>[0] = {}): IOpened {
  it = rig(says);
  const kernelChanged = new Signal<object, { newValue: { name: string } }>({});
  const cell = {
    model: { type: 'code', sharedModel: { toJSON: () => ({ execution_count: ran }) } }
  };
  const sessionContext = {
    kernelChanged,
    session: null,
    changeKernel: ({ name }: { name: string }) => {
      kernelChanged.emit({ newValue: { name } });
    }
  };
  const panel = {
    sessionContext,
    content: { widgets: [cell] },
    context: { path: 'a/train.ipynb', pathChanged: new Signal({}) }
  } as unknown as NotebookPanel;
  const widgetAdded = new Signal<object, NotebookPanel>({});
  const tracker = {
    currentChanged: new Signal({}),
    activeCellChanged: new Signal({}),
    widgetAdded
  } as unknown as INotebookTracker;
  const notebooks = new Notebooks(it.machines, tracker, nullTranslator.load(''));
  widgetAdded.emit(panel);
  const pick = (name: string): void => {
    kernelChanged.emit({ newValue: { name } });
  };
  pick('python3');
  return { notebooks, panel, pick };
}

const told = (): string[] => Notification.manager.notifications.map(one => one.message);

test('a machine that is picked as a kernel leaves variables behind, which is said once', () => {
  const { pick } = opened(true);
  pick('gpu-remote-calm-otter');
  expect(told()).toEqual([expect.stringContaining('variables stayed behind')]);
  pick('python3');
  pick('gpu-remote-calm-otter');
  expect(told()).toHaveLength(1);
});

test('where no cell has run, nothing is said', () => {
  const { pick } = opened(false);
  pick('gpu-remote-calm-otter');
  expect(told()).toEqual([]);
});

test('who was asked by our own button is not told again', async () => {
  const binding = { notebook: 'a/train.ipynb', machine: 'calm-otter', kernel: 'gpu-remote' };
  const { notebooks, panel } = opened(true, { binding });
  // it has no kernel to ask about yet
  await notebooks.runOn(panel, machine());
  expect(told()).toEqual([]);
});
