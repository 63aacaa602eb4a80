/** What the parts of this extension, and other extensions, know of each other. */

import { Token } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';

import type { Requests } from './requests';
import type * as Api from './schema';

/** The machines of this user, as the server last told of them. */
export interface IGpuMachines extends IDisposable {
  readonly requests: Requests;
  /** Those that exist, and those that failed or were taken back lately; oldest first. */
  readonly machines: readonly Api.Machine[];
  /** What the server does and has done. */
  readonly jobs: readonly Api.Job[];
  /** Cells and scripts that run unattended, and those that did: what people call jobs; oldest first. */
  readonly runs: readonly Api.Run[];
  /** How many older ones there are. */
  readonly moreRuns: number;
  /** The latest of what happened, oldest first. */
  readonly events: readonly Api.ActivityEvent[];
  readonly settings: Api.Settings | null;
  /** Dollars an hour of all machines. */
  readonly rate: number;
  readonly today: number;
  readonly dailyBudget: number | null;
  /** Why the server can't be asked; null when it can. */
  readonly problem: Api.Problem | null;
  /** Fulfilled once the server has answered for the first time. */
  readonly ready: Promise<void>;
  /** Something above is different now. */
  readonly changed: ISignal<IGpuMachines, void>;
  /** A job began, went on or ended. */
  readonly jobChanged: ISignal<IGpuMachines, Api.Job>;
  /** A cell or script that ran unattended has ended, well or not. */
  readonly runEnded: ISignal<IGpuMachines, Api.RunNotice>;

  get(name: string): Api.Machine | undefined;
  status(name: string): Api.Status | undefined;
  /** The use of a machine's GPUs, 0 to 1, as it was told since the page was opened. */
  history(name: string): readonly number[];
  /** The server's time now, in Unix seconds. */
  now(): number;
  spent(name: string): number;
  spentToday(): number;

  launch(request: Api.LaunchRequest): Promise<Api.Job>;
  extend(name: string): Promise<void>;
  /** Follow a job that the server has just begun. */
  follow(begun: Promise<Api.Job>): Promise<Api.Job>;
  /** Wait until a job has ended, and return how. */
  ended(id: string): Promise<Api.Job>;
  /** Ask the server now. */
  refresh(): Promise<void>;
  /** What went wrong with a machine at its last command; of a launch, under the empty name. */
  blamed(name: string): Api.Problem | undefined;
  blame(name: string, problem: Api.Problem | null): void;
  /** Show a machine that has failed or was taken back no more. */
  dismiss(name: string): void;
}

export const IGpuMachines = new Token<IGpuMachines>(
  'jupyter-gpu-remote:IGpuMachines',
  'The machines with GPUs of this user: what they do, what they cost, and launching them.'
);

export namespace CommandIDs {
  export const show = 'gpu-remote:show';
  export const launch = 'gpu-remote:launch';
  export const launchLocal = 'gpu-remote:launch-local';
  export const refresh = 'gpu-remote:refresh';
  export const settings = 'gpu-remote:settings';
  export const deleteMachine = 'gpu-remote:delete';
  export const stop = 'gpu-remote:stop';
  export const start = 'gpu-remote:start';
  export const pull = 'gpu-remote:pull';
  export const extend = 'gpu-remote:extend';
  export const relaunch = 'gpu-remote:relaunch';
  export const terminal = 'gpu-remote:terminal';
  export const openLogs = 'gpu-remote:open-logs';
  export const logs = 'gpu-remote:logs';
  export const runHere = 'gpu-remote:run-here';
  export const leave = 'gpu-remote:leave';
  export const choose = 'gpu-remote:choose-machine';
  export const runCell = 'gpu-remote:run-cell';
  export const setUpCloud = 'gpu-remote:set-up-cloud';
  export const output = 'gpu-remote:job-output';
  export const openOutput = 'gpu-remote:open-output';
  export const cancelRun = 'gpu-remote:cancel-job';
  export const forgetRun = 'gpu-remote:forget-job';
}

/** Our settings, as labextension/schema/plugin.json has them. */
export interface IPreferences {
  refreshSeconds: number;
  extendMinutes: number;
  notifications: boolean;
  browserNotifications: boolean;
}
