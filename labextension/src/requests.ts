/** The only place that speaks to the server. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type * as Api from './schema';

/** What the server refused or could not do. */
export class RequestError extends Error {
  constructor(
    readonly problem: Api.Problem,
    readonly status: number
  ) {
    super(problem.message);
  }
}

/** The problem that an error of any kind is. */
export function problemOf(error: unknown): Api.Problem {
  if (error instanceof RequestError) {
    return error.problem;
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'error', message, billed: '', hint: '' };
}

export class Requests {
  constructor(private readonly _settings = ServerConnection.makeSettings()) {}

  machines(endedAfter: number): Promise<Api.MachineList> {
    return this._ask('GET', 'machines', { ended_after: endedAfter });
  }
  delete(machine: string, anyway: boolean): Promise<Api.Job> {
    return this._ask('DELETE', `machines/${machine}`, { anyway });
  }
  stop(machine: string, anyway: boolean): Promise<Api.Job> {
    return this._ask('POST', `machines/${machine}/stop`, { anyway });
  }
  start(machine: string): Promise<Api.Job> {
    return this._ask('POST', `machines/${machine}/start`);
  }
  pull(machine: string): Promise<Api.Job> {
    return this._ask('POST', `machines/${machine}/pull`);
  }
  extend(machine: string, minutes: number): Promise<Api.Status> {
    return this._ask('POST', `machines/${machine}/extend`, {}, { minutes });
  }
  logs(machine: string): Promise<Api.Logs> {
    return this._ask('GET', `machines/${machine}/logs`);
  }
  files(machine: string): Promise<Api.MachineFiles> {
    return this._ask('GET', `machines/${machine}/files`);
  }
  statuses(): Promise<Api.StatusList> {
    return this._ask('GET', 'status');
  }
  launch(request: Api.LaunchRequest): Promise<Api.Job> {
    return this._ask('POST', 'launches', {}, request);
  }
  jobs(): Promise<Api.JobList> {
    return this._ask('GET', 'jobs');
  }
  /** Cancel a job, or dismiss one that has ended. */
  async endJob(id: string): Promise<void> {
    await this._ask('DELETE', `jobs/${id}`);
  }
  runs(): Promise<Api.RunList> {
    return this._ask('GET', 'runs');
  }
  cancelRun(id: number): Promise<Api.Run> {
    return this._ask('POST', `runs/${id}/cancel`);
  }
  async forgetRun(id: number): Promise<void> {
    await this._ask('DELETE', `runs/${id}`);
  }
  output(id: number, since: number): Promise<Api.RunOutput> {
    return this._ask('GET', `runs/${id}/output`, { since });
  }
  runCell(id: number): Promise<Api.RunCell> {
    return this._ask('GET', `runs/${id}/cell`);
  }
  mounts(machine: string): Promise<Api.MountList> {
    return this._ask('GET', `machines/${machine}/mounts`);
  }
  mount(machine: string, mount: string): Promise<Api.Job> {
    return this._ask('POST', `machines/${machine}/mounts`, {}, { mount });
  }
  unmount(machine: string, path: string, anyway: boolean): Promise<Api.Job> {
    return this._ask('DELETE', `machines/${machine}/mounts`, { path, anyway });
  }
  flush(machine: string): Promise<Api.Job> {
    return this._ask('POST', `machines/${machine}/flush`);
  }
  bucket(url: string): Promise<Api.BucketFolder> {
    return this._ask('GET', 'buckets', { url });
  }
  /** Where a browser finds a file of a bucket. */
  fileUrl(url: string): string {
    const { baseUrl, token, appendToken } = this._settings;
    const words = new URLSearchParams({ url, ...(appendToken && token && { token }) });
    return `${URLExt.join(baseUrl, 'gpu-remote/api/buckets/file')}?${words}`;
  }
  clouds(fresh: boolean): Promise<Api.CloudList> {
    return this._ask('GET', 'clouds', { fresh });
  }
  offers(query: Api.OfferQuery): Promise<Api.OfferList> {
    return this._ask('GET', 'offers', query);
  }
  spend(query: Api.SpendQuery): Promise<Api.Spend> {
    return this._ask('GET', 'spend', query);
  }
  activity(query: Api.ActivityQuery): Promise<Api.Activity> {
    return this._ask('GET', 'activity', query);
  }
  bind(notebook: string, machine: string): Promise<Api.KernelSwitch> {
    return this._ask('PUT', 'binding', {}, { notebook, machine });
  }
  async unbind(notebook: string): Promise<void> {
    await this._ask('DELETE', 'binding', { notebook });
  }
  settings(): Promise<Api.Settings> {
    return this._ask('GET', 'settings');
  }

  private async _ask<T>(
    method: string,
    path: string,
    query: object = {},
    body?: object
  ): Promise<T> {
    const given = Object.entries(query).filter(
      ([, value]) => value !== undefined && value !== null
    );
    const words = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
    const url = URLExt.join(this._settings.baseUrl, 'gpu-remote/api', path);
    const response = await ServerConnection.makeRequest(
      given.length ? `${url}?${words}` : url,
      // of 'no-store' JupyterLab makes a word of its own in the query
      { method, body: body && JSON.stringify(body), cache: 'no-cache' },
      this._settings
    );
    const text = await response.text();
    if (response.ok) {
      return (text ? JSON.parse(text) : undefined) as T;
    }
    throw new RequestError(readProblem(text, response), response.status);
  }
}

function readProblem(text: string, response: Response): Api.Problem {
  try {
    const said = JSON.parse(text) as Partial<Api.Problem>;
    const { code = 'error', message = response.statusText, billed = '', hint = '' } = said;
    return { code, message, billed, hint };
  } catch {
    // a proxy in between, or a server without our extension
    const message = `The server answered ${response.status} ${response.statusText}.`;
    return { code: 'error', message, billed: '', hint: '' };
  }
}
