import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { Signal } from '@lumino/signaling';
import { afterEach, expect, test, vi } from 'vitest';

import { bringOutputs } from '../resume';
import { type IRig, rig, run } from './rig';

let it: IRig | undefined;
afterEach(() => it?.machines.dispose());

const SAYS = { output_type: 'display_data', metadata: {} };
const RUNS = { ...SAYS, data: { 'text/plain': 'job 3 runs on calm-otter' } };
const ENDED = { ...SAYS, data: { 'text/plain': 'job 3 · done · 60 s' } };
const LINE = { output_type: 'stream', name: 'stdout', text: 'one\n' };

/** A notebook with one cell that shows `outputs`, in a page that opens it; returns what the cell shows. */
function opened(outputs: object[], mine = true): { shown: () => object[]; die: () => void } {
  it = rig({
    runs: [run({ notebook: 'a/train.ipynb', cell: mine ? 'c1' : '', state: 'done' })],
    'runs/3/cell': { run: run(), outputs: [LINE, ENDED], ended: true }
  });
  let shown = outputs;
  const model = {
    id: 'c1',
    type: 'code',
    isDisposed: false,
    outputs: { toJSON: () => shown, fromJSON: (now: object[]) => (shown = now) }
  };
  const statusChanged = new Signal<object, string>({});
  const panel = {
    context: { path: 'a/train.ipynb', ready: Promise.resolve() },
    content: { widgets: [{ model }] },
    sessionContext: { statusChanged }
  } as unknown as NotebookPanel;
  const widgetAdded = new Signal<object, NotebookPanel>({});
  bringOutputs({ widgetAdded } as unknown as INotebookTracker, it.machines.requests);
  widgetAdded.emit(panel);
  return {
    shown: () => shown,
    die: () => {
      statusChanged.emit('autorestarting');
    }
  };
}

const asked = (): string[] => it?.asked.map(one => one.path) ?? [];

test('a notebook that is opened gets what its job has put out meanwhile', async () => {
  const { shown } = opened([RUNS]);
  await vi.waitFor(() => {
    expect(shown()).toEqual([LINE, ENDED]);
  });
});

test('a cell that has shown its end, or something else since, is left alone', async () => {
  for (const outputs of [[LINE, ENDED], [LINE], []]) {
    const { shown } = opened(outputs);
    await vi.waitFor(() => {
      expect(asked()).toContain('runs');
    });
    expect(shown()).toEqual(outputs);
    expect(asked()).not.toContain('runs/3/cell');
  }
});

test('a job of no cell is left alone', async () => {
  const { shown } = opened([RUNS], false);
  await vi.waitFor(() => {
    expect(asked()).toContain('runs');
  });
  expect(shown()).toEqual([RUNS]);
});

test('a kernel that dies has its jobs looked after', async () => {
  const { shown, die } = opened([]);
  await vi.waitFor(() => {
    expect(asked()).toContain('runs');
  });
  shown().push(RUNS);
  die();
  await vi.waitFor(() => {
    expect(shown()).toEqual([LINE, ENDED]);
  });
});
