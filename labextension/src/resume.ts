/** Outputs of jobs, brought below the cell that asked when the kernel that showed them there is gone. */

import type { ICodeCellModel } from '@jupyterlab/cells';
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';

import type { Requests } from './requests';
import type * as Api from './schema';

/** Milliseconds between two looks at a job that runs. */
const EVERY = 1500;
/** Of a kernel whose last words have been said. */
const GONE = ['restarting', 'autorestarting', 'dead'];

/** Look after the jobs of each notebook: when it is opened, and when its kernel goes. */
export function bringOutputs(tracker: INotebookTracker, requests: Requests): void {
  tracker.widgetAdded.connect((_, panel) => {
    const followed = new Set<number>();
    const look = (): void => void bring(panel, requests, followed);
    void panel.context.ready.then(look);
    panel.sessionContext.statusChanged.connect((_, status) => {
      if (GONE.includes(status)) {
        look();
      }
    });
  });
}

async function bring(
  panel: NotebookPanel,
  requests: Requests,
  followed: Set<number>
): Promise<void> {
  const { runs } = await requests.runs().catch(() => ({ runs: [] }));
  for (const run of runs) {
    const cell = run.notebook === panel.context.path ? cellOf(panel, run) : undefined;
    if (cell && isOpen(cell, run.id) && !followed.has(run.id)) {
      followed.add(run.id);
      void follow(cell, run.id, requests).finally(() => followed.delete(run.id));
    }
  }
}

/** Keep what is below a cell as the job has it, until that ends or the cell shows something else. */
async function follow(cell: ICodeCellModel, id: number, requests: Requests): Promise<void> {
  for (;;) {
    const got = await requests.runCell(id).catch(() => null);
    if (!got || cell.isDisposed || !isOpen(cell, id)) {
      return;
    }
    if (JSON.stringify(got.outputs) !== JSON.stringify(cell.outputs.toJSON())) {
      cell.outputs.fromJSON(got.outputs as never);
    }
    if (got.ended) {
      return;
    }
    await new Promise(resolve => window.setTimeout(resolve, EVERY));
  }
}

function cellOf(panel: NotebookPanel, run: Api.Run): ICodeCellModel | undefined {
  const cell = panel.content.widgets.find(one => one.model.id === run.cell);
  return run.cell && cell?.model.type === 'code' ? (cell.model as ICodeCellModel) : undefined;
}

/** Whether a cell still says that a job of this number runs; one that ended or was run again does not. */
function isOpen(cell: ICodeCellModel, id: number): boolean {
  const says = new RegExp(`^job ${id} (runs on|· running)`);
  return cell.outputs.toJSON().some(output => {
    const data = output['data'] as Record<string, string | string[]> | undefined;
    const text = data?.['text/plain'] ?? '';
    return says.test(Array.isArray(text) ? text.join('') : text);
  });
}
