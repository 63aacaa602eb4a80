import { afterEach, expect, test, vi } from 'vitest';

import type { GpuMachines } from '../manager';
import { job, machine, NOW, rig, status } from './rig';

let made: GpuMachines | undefined;
afterEach(() => {
  made?.dispose();
});

async function started(says: Parameters<typeof rig>[0] = {}): Promise<ReturnType<typeof rig>> {
  const it = rig(says);
  made = it.machines;
  await it.machines.refresh();
  return it;
}

test('what the server says is there, and what machines cost goes on from there', async () => {
  const { machines } = await started({ machines: [machine({ rate: 3600, spent: 1 })] });
  expect(machines.get('calm-otter')?.state).toBe('ready');
  const before = machines.spent('calm-otter');
  expect(before).toBeGreaterThanOrEqual(1);
  await vi.waitFor(() => {
    expect(machines.spent('calm-otter')).toBeGreaterThan(before);
  });
  expect(Math.abs(machines.now() - NOW)).toBeLessThan(60);
});

test('a machine that did not change is the same object, so that its card is not drawn again', async () => {
  const { machines, says } = await started({ machines: [machine()] });
  const first = machines.get('calm-otter');
  says.machines = [machine({ spent: 2 })];
  await machines.refresh();
  expect(machines.get('calm-otter')).toBe(first);
  says.machines = [machine({ state: 'busy' })];
  await machines.refresh();
  expect(machines.get('calm-otter')).not.toBe(first);
});

test('an event of the server is followed by a look', async () => {
  const { machines, says, push } = await started();
  says.machines = [machine()];
  push('machine', { id: 1, kind: 'added', machine: 'calm-otter', state: 'requested', text: '' });
  await vi.waitFor(() => {
    expect(machines.machines).toHaveLength(1);
  });
});

test('progress of a job is shown without asking for it', async () => {
  const { machines, asked, push } = await started({ jobs: [job()] });
  const before = asked.length;
  push('job', { ...job(), machine: '', phase: 'preparing', step: 4, text: 'copying' });
  expect(machines.jobs[0]).toMatchObject({ phase: 'preparing', step: 4 });
  expect(asked).toHaveLength(before);
});

test('who waits for a job is told how it ended', async () => {
  const { machines, says, push } = await started({ jobs: [job()] });
  const ended = machines.ended('j1');
  says.jobs = [job({ state: 'failed' })];
  push('job', { ...job({ state: 'failed' }), machine: '' });
  expect((await ended).state).toBe('failed');
});

test('the kernel picker hears of a new machine once', async () => {
  const { machines, refreshSpecs } = await started({ machines: [machine()] });
  await machines.refresh();
  await vi.waitFor(() => {
    expect(refreshSpecs).toHaveBeenCalledOnce();
  });
});

test('the use of GPUs is kept for the line in the card', async () => {
  const { machines, says } = await started({ machines: [machine()], statuses: [status()] });
  await machines.refresh();
  expect(machines.history('calm-otter')).toEqual([0.87]);
  says.statuses = [status({ at: NOW + 15, gpus: [] })];
  await machines.refresh();
  expect(machines.history('calm-otter')).toHaveLength(1);
});

test('a server that does not answer is a problem, not a blank panel', async () => {
  const { machines, says } = await started({ machines: [machine()] });
  const problem = { code: 'registry', message: 'It is locked.', billed: '', hint: 'Wait.' };
  const unable = new Response(JSON.stringify(problem), { status: 503 });
  Object.assign(says, { machines: undefined });
  vi.spyOn(machines.requests, 'jobs').mockImplementation(async () => {
    const { RequestError } = await import('../requests');
    throw new RequestError(problem, unable.status);
  });
  await machines.refresh();
  expect(machines.problem?.message).toBe('It is locked.');
  expect(machines.machines).toHaveLength(1);
});

test('a machine that failed is shown until it is dismissed, one that is gone is not', async () => {
  const { machines } = await started({
    machines: [machine({ name: 'a', state: 'failed' }), machine({ name: 'b', state: 'gone' })]
  });
  expect(machines.machines.map(m => m.name)).toEqual(['a']);
  machines.dismiss('a');
  await machines.refresh();
  expect(machines.machines).toEqual([]);
});
