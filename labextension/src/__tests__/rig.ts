/** A server of its own for the code under test: answers what a test says, and remembers what it was asked. */

import { ServerConnection, type ServiceManager } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';
import { vi } from 'vitest';

import { GpuMachines } from '../manager';
import { DEFAULTS } from '../preferences';
import type * as Api from '../schema';

export const NOW = 1_900_000_000;

export const OFFER: Api.Offer = {
  title: 'A100 ×2 · aws us-east-1a · spot $2.00/h',
  provider: 'aws',
  machine_type: 'p4de.24xlarge',
  gpu: 'A100',
  count: 2,
  gpu_memory: 80,
  cpus: 96,
  memory: 1152,
  region: 'us-east-1',
  zone: 'us-east-1a',
  spot: true,
  price: 2,
  on_demand_price: 8,
  stopped_price: 0.1,
  stand_in_for: ''
};

export function machine(given: Partial<Api.Machine> = {}): Api.Machine {
  return {
    name: 'calm-otter',
    state: 'ready',
    offer: OFFER,
    provider_id: 'us-east-1/i-0123',
    rate: 2,
    spent: 1,
    created_at: NOW - 1800,
    ready_at: NOW - 1700,
    ended_at: null,
    ends_at: null,
    note: '',
    actions: ['connect', 'delete', 'extend', 'pull', 'stop'],
    notebooks: [],
    kernel: 'gpu-remote-calm-otter',
    job: null,
    ssh_command: 'ssh calm-otter',
    ...given
  };
}

export function job(given: Partial<Api.Job> = {}): Api.Job {
  return {
    id: 'j1',
    kind: 'launch',
    state: 'running',
    machine: null,
    phase: 'booting',
    step: 2,
    steps: 5,
    text: 'waiting for the machine',
    progress: null,
    said: [],
    notebook: '',
    request: { gpu: 'A100' },
    began_at: NOW - 20,
    ended_at: null,
    cancellable: true,
    interrupted: false,
    problem: null,
    ...given
  };
}

export function status(given: Partial<Api.Status> = {}): Api.Status {
  const gpu = { name: 'NVIDIA A100', use: 87, memory: 62464, memory_total: 81920 };
  return {
    machine: 'calm-otter',
    at: NOW,
    ends_in: 1080,
    ends_why: 'no cell has run for 12 min',
    cpu: 2,
    gpus: [gpu],
    kernels: [],
    problem: null,
    ...given
  };
}

export function run(given: Partial<Api.Run> = {}): Api.Run {
  return {
    id: 3,
    title: 'train.py --lr 0.1',
    machine: 'calm-otter',
    notebook: '',
    cell: '',
    state: 'running',
    began_at: NOW - 125,
    ended_at: null,
    note: '',
    ...given
  };
}

export interface ISaid {
  machines: Api.Machine[];
  jobs: Api.Job[];
  statuses: Api.Status[];
  runs: Api.Run[];
  [path: string]: unknown;
}

export interface IRig {
  machines: GpuMachines;
  /** What the server says; by path, unless it is one of the lists. */
  says: ISaid;
  asked: { method: string; path: string; body: unknown }[];
  push: (kind: string, data: object) => void;
  refreshSpecs: ReturnType<typeof vi.fn>;
}

export function rig(says: Partial<ISaid> = {}): IRig {
  const all: ISaid = { machines: [], jobs: [], statuses: [], runs: [], ...says };
  const asked: IRig['asked'] = [];
  const answer = (path: string): unknown => {
    switch (path) {
      case 'machines':
        return {
          at: NOW,
          machines: all.machines,
          rate: all.machines.reduce((n, m) => n + m.rate, 0)
        };
      case 'jobs':
        return { jobs: all.jobs };
      case 'runs':
        return { at: NOW, runs: all.runs, more: 0 };
      case 'status':
        return { at: NOW, statuses: all.statuses };
      case 'spend':
        return { at: NOW, by: 'day', rows: [], total: 3, today: 3, rate: 2, daily_budget: 20 };
      case 'activity':
        return { events: [], last: 1 };
      case 'settings':
        return {
          version: '1',
          gpus: [{ name: 'A100', memory: [40, 80] }],
          clouds: ['aws', 'local'],
          defaults: { idle: 30 },
          help: {},
          daily_budget: 20,
          problem: null
        };
      default:
        return all[path];
    }
  };
  const serverSettings = ServerConnection.makeSettings({
    baseUrl: 'http://here/user/x/',
    fetch: async request => {
      const { method, url } = request as Request;
      const path = new URL(url).pathname.replace('/user/x/gpu-remote/api/', '');
      const text = await (request as Request).text();
      asked.push({ method, path, body: text ? JSON.parse(text) : null });
      const said = answer(path);
      return said instanceof Response ? said.clone() : new Response(JSON.stringify(said ?? {}));
    }
  });
  const stream = new Signal<object, object>({});
  const refreshSpecs = vi.fn(() => Promise.resolve());
  const services = { serverSettings, events: { stream }, kernelspecs: { refreshSpecs } };
  const machines = new GpuMachines(services as unknown as ServiceManager.IManager, () => DEFAULTS);
  const push = (kind: string, data: object): void => {
    stream.emit({ schema_id: `https://jupyter-gpu-remote/${kind}/v1`, ...data });
  };
  return { machines, says: all, asked, push, refreshSpecs };
}
