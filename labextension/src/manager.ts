import type { ServiceManager } from '@jupyterlab/services';
import { Poll, Throttler } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';

import { problemOf, Requests } from './requests';
import type * as Api from './schema';
import type { IGpuMachines, IPreferences } from './tokens';

const MACHINE_EVENT = 'https://jupyter-gpu-remote/machine/v1';
const JOB_EVENT = 'https://jupyter-gpu-remote/job/v1';
const RUN_EVENT = 'https://jupyter-gpu-remote/run/v1';
/** Milliseconds between two looks that events ask for; a launch brings several at once. */
const GATHER = 150;
/** How many figures of a GPU's use are kept: ten minutes at one in 15 s. */
export const KEPT_FIGURES = 40;
const KEPT_EVENTS = 500;
/** Seconds for which a machine that failed or was taken back is still shown. */
const MOURNED = 12 * 3600;

/** Asks the server every few seconds, and at once when it says that something happened. */
export class GpuMachines implements IGpuMachines {
  constructor(
    private readonly _services: ServiceManager.IManager,
    private readonly _preferences: () => IPreferences
  ) {
    this.requests = new Requests(_services.serverSettings);
    this.ready = new Promise(resolve => {
      this._isReady = resolve;
    });
    this._poll = new Poll({
      name: 'jupyter-gpu-remote:machines',
      factory: () => this._fetch(),
      frequency: { interval: 10_000, backoff: true, max: 60_000 },
      standby: 'when-hidden'
    });
    this._soon = new Throttler(() => this.refresh(), { limit: GATHER, edge: 'trailing' });
    _services.events.stream.connect((_, event) => {
      this._take(event);
    });
  }

  readonly requests: Requests;
  readonly ready: Promise<void>;
  machines: readonly Api.Machine[] = [];
  jobs: readonly Api.Job[] = [];
  runs: readonly Api.Run[] = [];
  moreRuns = 0;
  events: readonly Api.ActivityEvent[] = [];
  settings: Api.Settings | null = null;
  rate = 0;
  today = 0;
  dailyBudget: number | null = null;
  problem: Api.Problem | null = null;

  get changed(): ISignal<IGpuMachines, void> {
    return this._changed;
  }
  get jobChanged(): ISignal<IGpuMachines, Api.Job> {
    return this._jobChanged;
  }
  get runEnded(): ISignal<IGpuMachines, Api.RunNotice> {
    return this._runEnded;
  }
  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }
  dispose(): void {
    this._poll.dispose();
    this._soon.dispose();
    Signal.clearData(this);
  }

  get(name: string): Api.Machine | undefined {
    return this.machines.find(machine => machine.name === name);
  }
  status(name: string): Api.Status | undefined {
    return this._statuses.get(name);
  }
  history(name: string): readonly number[] {
    return this._history.get(name) ?? [];
  }
  now(): number {
    return Date.now() / 1000 + this._skew;
  }
  spent(name: string): number {
    const bill = this._bills.get(name);
    return bill ? bill.spent + (bill.rate * (this.now() - this._at)) / 3600 : 0;
  }
  spentToday(): number {
    return this.today + (this.rate * (this.now() - this._at)) / 3600;
  }

  launch(request: Api.LaunchRequest): Promise<Api.Job> {
    return this.follow(this.requests.launch(request));
  }
  async extend(name: string): Promise<void> {
    this._takeStatus(await this.requests.extend(name, this._preferences().extendMinutes));
    this._changed.emit();
  }
  async follow(begun: Promise<Api.Job>): Promise<Api.Job> {
    const job = await begun;
    this._takeJobs([...this.jobs.filter(other => other.id !== job.id), job]);
    this._changed.emit();
    void this._soon.invoke();
    return job;
  }
  async ended(id: string): Promise<Api.Job> {
    return new Promise(resolve => {
      const look = (): void => {
        const job = this.jobs.find(one => one.id === id);
        if (job && !isRunning(job)) {
          this._changed.disconnect(look);
          resolve(job);
        }
      };
      this._changed.connect(look);
      look();
    });
  }
  async refresh(): Promise<void> {
    await this._poll.refresh();
    await this._poll.tick.catch(() => undefined); // told in `problem`
  }
  setInterval(seconds: number): void {
    this._poll.frequency = { interval: seconds * 1000, backoff: true, max: 60_000 };
  }
  blamed(name: string): Api.Problem | undefined {
    return this._blamed.get(name);
  }
  blame(name: string, problem: Api.Problem | null): void {
    if (problem) {
      this._blamed.set(name, problem);
    } else {
      this._blamed.delete(name);
    }
    this._changed.emit();
  }
  dismiss(name: string): void {
    this._dismissed.add(name);
    this.machines = this.machines.filter(machine => machine.name !== name);
    this._changed.emit();
  }

  private async _fetch(): Promise<void> {
    try {
      // the job list goes first: a machine that a job speaks of is then known
      const jobs = await this.requests.jobs();
      const [list, statuses, runs, spend, activity] = await Promise.all([
        this.requests.machines(this.now() - MOURNED),
        this.requests.statuses(),
        this.requests.runs(),
        this.requests.spend({ by: 'day', since: 1 }),
        this.requests.activity(
          this._lastEvent ? { since: this._lastEvent } : { limit: KEPT_EVENTS }
        )
      ]);
      this.settings ??= await this.requests.settings();
      this._takeMachines(list);
      statuses.statuses.forEach(status => {
        this._takeStatus(status);
      });
      this._takeRuns(runs);
      this.today = spend.today;
      this.dailyBudget = spend.daily_budget;
      this.events = [...this.events, ...activity.events].slice(-KEPT_EVENTS);
      this._lastEvent = activity.last;
      this._takeJobs(jobs.jobs);
      this.problem = null;
      this._isReady();
    } catch (error) {
      this.problem = problemOf(error);
      throw error;
    } finally {
      this._changed.emit();
    }
    await this._lookAtKernels();
  }

  private _takeMachines(list: Api.MachineList): void {
    this._at = list.at;
    this._skew = list.at - Date.now() / 1000;
    this.rate = list.rate;
    this._bills = new Map(list.machines.map(machine => [machine.name, machine]));
    const known = new Map(this.machines.map(machine => [machine.name, machine]));
    this.machines = list.machines
      .filter(machine => machine.state !== 'gone' && !this._dismissed.has(machine.name))
      .map(machine => same(known.get(machine.name), machine));
  }

  private _takeStatus(status: Api.Status): void {
    const known = this._statuses.get(status.machine);
    this._statuses.set(status.machine, same(known, status));
    if (status.gpus?.length && status.at !== known?.at) {
      const use = status.gpus.reduce((sum, gpu) => sum + gpu.use, 0) / status.gpus.length / 100;
      const figures = [...this.history(status.machine), use].slice(-KEPT_FIGURES);
      this._history.set(status.machine, figures);
    }
  }

  private _takeRuns(list: Api.RunList): void {
    const known = new Map(this.runs.map(run => [run.id, run]));
    this.runs = list.runs.map(run => same(known.get(run.id), run));
    this.moreRuns = list.more;
    const first = !this._runStates;
    this._runStates ??= new Map();
    for (const run of this.runs) {
      if (first) {
        this._runStates.set(run.id, run.state);
      } else {
        this._tellOfRun({ ...run });
      }
    }
  }

  /** Tell once that a run has ended: the server says it in an event, and again in the next list. */
  private _tellOfRun({ id, state, machine, title, note }: Api.RunNotice): void {
    const before = this._runStates?.get(id);
    this._runStates?.set(id, state);
    if (this._runStates && state !== before && state !== 'running' && state !== 'forgotten') {
      this._runEnded.emit({ id, state, machine, title, note });
    }
  }

  private _takeJobs(jobs: readonly Api.Job[]): void {
    const known = new Map(this.jobs.map(job => [job.id, job]));
    this.jobs = jobs.map(job => same(known.get(job.id), job));
    for (const job of this.jobs) {
      if (job !== known.get(job.id)) {
        this._jobChanged.emit(job);
      }
    }
  }

  private _take(event: object): void {
    const { schema_id: kind, ...data } = event as { schema_id?: string };
    if (kind === JOB_EVENT) {
      this._takeNotice(data as Api.JobNotice);
    } else if (kind === RUN_EVENT) {
      // also while the page is hidden, when nothing is fetched
      this._tellOfRun(data as Api.RunNotice);
      void this._soon.invoke();
    } else if (kind === MACHINE_EVENT) {
      void this._soon.invoke();
    }
  }

  private _takeNotice(notice: Api.JobNotice): void {
    const known = this.jobs.find(job => job.id === notice.id);
    if (known?.state !== notice.state || known.machine !== (notice.machine || null)) {
      void this._soon.invoke();
      return;
    }
    const { phase, step, steps, text } = notice;
    this._takeJobs(
      this.jobs.map(job => (job === known ? { ...job, phase, step, steps, text } : job))
    );
    this._changed.emit();
  }

  /** Let the kernel picker offer what runs now, when that is different. */
  private async _lookAtKernels(): Promise<void> {
    const kernels = this.machines.flatMap(machine => machine.kernel ?? []).join();
    if (kernels !== this._kernels) {
      this._kernels = kernels;
      await this._services.kernelspecs.refreshSpecs();
    }
  }

  private readonly _poll: Poll;
  private readonly _soon: Throttler;
  private readonly _changed = new Signal<IGpuMachines, void>(this);
  private readonly _jobChanged = new Signal<IGpuMachines, Api.Job>(this);
  private readonly _runEnded = new Signal<IGpuMachines, Api.RunNotice>(this);
  private _runStates: Map<number, string> | null = null;
  private readonly _statuses = new Map<string, Api.Status>();
  private readonly _history = new Map<string, readonly number[]>();
  private readonly _blamed = new Map<string, Api.Problem>();
  private readonly _dismissed = new Set<string>();
  private _bills = new Map<string, { spent: number; rate: number }>();
  private _isReady: () => void = () => undefined;
  private _at = 0;
  private _skew = 0;
  private _lastEvent = 0;
  private _kernels = '';
}

export function isRunning(job: Api.Job): boolean {
  return job.state === 'running' || job.state === 'cancelling';
}

/** The old one where nothing but money has changed, so that what shows it needs no new look. */
function same<T extends object>(old: T | undefined, now: T): T {
  const text = (value: T): string => JSON.stringify({ ...value, spent: 0 });
  return old && text(old) === text(now) ? old : now;
}
