/** Notebooks and where they run: kernels switched to a machine and back, cells sent there. */

import { Dialog, type ISessionContext, Notification, showDialog } from '@jupyterlab/apputils';
import { type INotebookTracker, NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import { type ISignal, Signal } from '@lumino/signaling';

import { basename } from './format';
import type * as Api from './schema';
import type { IGpuMachines } from './tokens';

/** Every kernelspec of ours begins with it. */
const KERNEL = 'gpu-remote';
const LOAD = '%load_ext jupyter_gpu_remote';
const CELL = /^\s*%%remote\b/;

/** Sends all that a kernel has assigned to the machine that its notebook is bound to. */
const CARRY = `
${LOAD}
from types import ModuleType as _M
_names = [n for n, v in get_ipython().user_ns.items() if not n.startswith('_')
          and n not in get_ipython().user_ns_hidden and not isinstance(v, _M)]
if _names: get_ipython().run_line_magic('remote', 'put ' + ','.join(_names))
`;

export class Notebooks {
  constructor(
    private readonly _machines: IGpuMachines,
    private readonly _tracker: INotebookTracker | null,
    private readonly _trans: TranslationBundle
  ) {
    const tell = (): void => {
      this._changed.emit();
    };
    _tracker?.currentChanged.connect(tell);
    _tracker?.activeCellChanged.connect(tell);
    _tracker?.widgetAdded.connect((_, panel) => {
      panel.sessionContext.kernelChanged.connect((_, { newValue }) => {
        if (newValue) {
          this._noticeKernel(panel, newValue.name);
        }
        tell();
      });
      panel.context.pathChanged.connect(tell);
    });
  }

  /** Another notebook or cell is in front, or its kernel is another one. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get current(): NotebookPanel | null {
    return this._tracker?.currentWidget ?? null;
  }

  find(path: string): NotebookPanel | undefined {
    return this._tracker?.find(panel => panel.context.path === path);
  }

  /** The machine that a notebook uses, by its kernel or by its cells. */
  machineOf(panel: NotebookPanel): Api.Machine | undefined {
    const kernel = panel.sessionContext.session?.kernel?.name;
    const path = panel.context.path;
    return (
      this._machines.machines.find(machine => machine.kernel && machine.kernel === kernel) ??
      this._machines.machines.find(machine => machine.notebooks.includes(path))
    );
  }

  /** Whether a notebook as a whole runs on a machine, not just cells of it. */
  runsOn(panel: NotebookPanel, machine: Api.Machine): boolean {
    const kernel = panel.sessionContext.session?.kernel?.name ?? '';
    const bound = machine.notebooks.includes(panel.context.path);
    return kernel === machine.kernel || (kernel === KERNEL && bound);
  }

  /** Give a notebook a kernel on a machine; returns whether that was done. */
  async runOn(panel: NotebookPanel, machine: Api.Machine): Promise<boolean> {
    const carry = await this._asked(panel, machine);
    if (carry === null) {
      return false;
    }
    const path = panel.context.path;
    const { kernel } = await this._machines.requests.bind(path, machine.name);
    if (carry) {
      await this._carry(panel.sessionContext, machine);
    }
    this._switched.add(panel);
    await change(panel.sessionContext, kernel ?? machine.kernel ?? KERNEL);
    return true;
  }

  /** Give a notebook its kernel on this computer back. */
  async leave(panel: NotebookPanel): Promise<void> {
    await this._machines.requests.unbind(panel.context.path);
    const specs = panel.sessionContext.specsManager.specs;
    const ours = (name: string): boolean => name.startsWith(KERNEL);
    const names = Object.keys(specs?.kernelspecs ?? {}).filter(name => !ours(name));
    const usual = specs && !ours(specs.default) ? specs.default : names[0];
    if (usual && ours(panel.sessionContext.session?.kernel?.name ?? '')) {
      await change(panel.sessionContext, this._before.get(panel) ?? usual);
    }
  }

  /** Put `%%remote` on top of the active cell and run it. */
  async runCell(panel: NotebookPanel): Promise<void> {
    const cell = panel.content.activeCell;
    if (cell?.model.type !== 'code') {
      return;
    }
    const kernel = panel.sessionContext.session?.kernel;
    if (!kernel?.name.startsWith(KERNEL)) {
      const source = cell.model.sharedModel;
      if (!CELL.test(source.getSource())) {
        source.setSource(`${this._line(panel)}\n${source.getSource()}`);
      }
      // quiet: where it is loaded already it would say so
      await kernel?.requestExecute({ code: LOAD, silent: true }).done;
    }
    await NotebookActions.run(panel.content, panel.sessionContext);
  }

  /** Say once that variables stayed behind, when a machine was picked where nothing asks about them. */
  private _noticeKernel(panel: NotebookPanel, name: string): void {
    const before = this._kernels.get(panel);
    this._kernels.set(panel, name);
    const asked = this._switched.delete(panel) || this._warned.has(panel);
    if (asked || !before || before === name || !name.startsWith(KERNEL) || !hasRun(panel)) {
      return;
    }
    this._warned.add(panel);
    if (!before.startsWith(KERNEL)) {
      this._before.set(panel, before);
    }
    const trans = this._trans;
    Notification.emit(
      // JupyterLab shows 140 characters
      trans.__(
        'A fresh kernel over there: your variables stayed behind. “Run here” in GPU machines can take them along.'
      ),
      'warning',
      {
        autoClose: 20_000,
        actions: [
          {
            label: trans.__('Run all cells'),
            callback: () => void NotebookActions.runAll(panel.content, panel.sessionContext)
          }
        ]
      }
    );
  }

  private _line(panel: NotebookPanel): string {
    const usable = this._machines.machines.filter(machine => machine.actions.includes('connect'));
    const [only] = usable;
    return only && usable.length === 1 && !this.machineOf(panel)
      ? `%%remote --on ${only.name}`
      : '%%remote';
  }

  /** Ask what is to become of variables, where there may be any; null when the user changed his mind. */
  private async _asked(panel: NotebookPanel, machine: Api.Machine): Promise<boolean | null> {
    const kernel = panel.sessionContext.session?.kernel?.name ?? '';
    if (!kernel.startsWith(KERNEL)) {
      this._before.set(panel, kernel);
    }
    if (!hasRun(panel) || !kernel || this._warned.has(panel)) {
      return false;
    }
    const trans = this._trans;
    const result = await showDialog({
      title: trans.__('Run %1 on %2?', basename(panel.context.path), machine.name),
      body: trans.__(
        'The notebook gets a fresh kernel over there. Its files go along; the variables of the kernel that it has now stay behind.'
      ),
      checkbox: kernel.startsWith(KERNEL)
        ? null
        : {
            label: trans.__('Take the variables along'),
            caption: trans.__('What cannot travel (open files, locks, modules) stays behind'),
            checked: false
          },
      buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Run there') })],
      defaultButton: 1
    });
    if (!result.button.accept) {
      return null;
    }
    this._warned.add(panel);
    return result.isChecked ?? false;
  }

  private async _carry(context: ISessionContext, machine: Api.Machine): Promise<void> {
    const reply = await context.session?.kernel?.requestExecute({
      code: CARRY,
      store_history: false
    }).done;
    if (reply?.content.status === 'error') {
      throw new Error(
        this._trans.__(
          'The variables could not be sent to %1, so the notebook stays where it is: %2',
          machine.name,
          reply.content.evalue
        )
      );
    }
  }

  private readonly _changed = new Signal<this, void>(this);
  private readonly _warned = new WeakSet<NotebookPanel>();
  private readonly _switched = new WeakSet<NotebookPanel>();
  private readonly _kernels = new WeakMap<NotebookPanel, string>();
  private readonly _before = new WeakMap<NotebookPanel, string>();
}

/** Whether a cell of it was run, so that there may be variables. */
function hasRun(panel: NotebookPanel): boolean {
  return panel.content.widgets.some(
    cell => cell.model.type === 'code' && cell.model.sharedModel.toJSON().execution_count
  );
}

async function change(context: ISessionContext, name: string): Promise<void> {
  if (context.session?.kernel?.name === name) {
    await context.restartKernel();
  } else {
    await context.changeKernel({ name });
  }
}
