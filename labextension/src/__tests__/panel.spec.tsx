import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import React from 'react';
import { afterEach, expect, test, vi } from 'vitest';

import { Panel } from '../components/context';
import { Sidebar } from '../components/panel';
import { Notebooks } from '../notebooks';
import { DEFAULTS } from '../preferences';
import { CommandIDs } from '../tokens';
import { job, machine, type IRig, rig, status } from './rig';

let it: IRig | undefined;
afterEach(() => {
  cleanup();
  it?.machines.dispose();
});

async function shown(says: Parameters<typeof rig>[0] = {}): Promise<IRig & { run: typeof vi.fn }> {
  it = rig({ offers: { at: 1, offers: [], failed: [], problem: null }, ...says });
  const commands = new CommandRegistry();
  const run = vi.fn();
  for (const id of Object.values(CommandIDs)) {
    commands.addCommand(id, { execute: args => run(id, args) as unknown });
  }
  const trans = nullTranslator.load('');
  const notebooks = new Notebooks(it.machines, null, trans);
  const { machines } = it;
  await act(() => machines.refresh());
  render(
    <Panel.Provider
      value={{ machines, notebooks, commands, trans, state: null, preferences: () => DEFAULTS }}
    >
      <Sidebar />
    </Panel.Provider>
  );
  return { ...it, run: run as never };
}

test('before there is a machine, one is offered for free', async () => {
  const { run } = await shown();
  fireEvent.click(screen.getByText('Try the local machine'));
  expect(run).toHaveBeenCalledWith(CommandIDs.launchLocal, expect.anything());
});

test('a card says what a machine is, does and costs', async () => {
  await shown({ machines: [machine({ notebooks: ['a/train.ipynb'] })], statuses: [status()] });
  const card = screen.getByText('calm-otter · aws us-east-1a · spot −75%').closest('li');
  expect(card?.textContent).toMatch(/A100 ×2ready/);
  expect(card?.textContent).toMatch(/\$2\.00\/h · spent \$1\.0\d · 30 min/);
  expect(card?.textContent).toMatch(/GPU 87%61\/80 GB/);
  expect(card?.textContent).toMatch(/unused: 18 min left\+30 m/);
  expect(card?.textContent).toMatch(/train.ipynb connected/);
});

test('the buttons of a card are for its machine, and only for what can be done', async () => {
  const { run } = await shown({ machines: [machine({ actions: ['delete'] })] });
  expect(screen.queryByLabelText('Stop…')).toBeNull();
  fireEvent.click(screen.getByLabelText('Delete…'));
  expect(run).toHaveBeenCalledWith(CommandIDs.deleteMachine, { machine: 'calm-otter' });
});

test('a launch shows its step, and what failed shows cost and next step', async () => {
  const { says, machines } = await shown({
    machines: [machine({ state: 'booting', job: 'j1', actions: ['delete'] })],
    jobs: [job({ machine: 'calm-otter' })]
  });
  screen.getByText('booting 2/5');
  const problem = { code: 'quota', message: 'No quota.', billed: 'Nothing.', hint: 'Ask for it.' };
  says.machines = [];
  says.jobs = [job({ state: 'failed', problem })];
  await act(() => machines.refresh());
  const alert = screen.getByText('No quota.').closest('[role=alert]') as HTMLElement;
  expect(alert.textContent).toMatch(/Nothing\..*Next: Ask for it\./);
  within(alert).getByText('Try again');
});

test('files that cannot be fetched do not keep a machine for ever', async () => {
  const problem = { code: 'sync', message: 'It does not answer.', billed: 'It is.', hint: '' };
  const { run } = await shown({
    machines: [machine()],
    jobs: [job({ kind: 'delete', state: 'failed', machine: 'calm-otter', problem })]
  });
  fireEvent.click(screen.getByText('Delete it anyway'));
  expect(run).toHaveBeenCalledWith(CommandIDs.deleteMachine, {
    machine: 'calm-otter',
    anyway: true
  });
});

test('a machine that was taken back offers another one', async () => {
  const { run } = await shown({
    machines: [machine({ state: 'preempted', note: 'synced 14:01' })]
  });
  expect(screen.getByRole('alert').textContent).toMatch(
    /took it back.*synced 14:01.*costs nothing/
  );
  fireEvent.click(screen.getByText('Relaunch'));
  expect(run).toHaveBeenCalledWith(CommandIDs.relaunch, { machine: 'calm-otter' });
});

test('the form sends what is chosen', async () => {
  const { asked } = await shown({ launches: job() });
  fireEvent.change(screen.getByLabelText('GPU'), { target: { value: 'A100-80GB' } });
  await act(async () => {
    fireEvent.submit(screen.getByRole('form'));
    await vi.waitFor(() => {
      expect(asked.some(({ path }) => path === 'launches')).toBe(true);
    });
  });
  const sent = asked.find(({ path }) => path === 'launches');
  expect(sent?.body).toMatchObject({ gpu: 'A100-80GB', spot: true, idle: 30 });
});

test('a launch whose server died says whether it was undone or goes on', async () => {
  const problem = {
    code: 'interrupted',
    message: 'The server ended while it launched A100. It is deleted.',
    billed: '',
    hint: 'Launch it again.'
  };
  const { run, says, machines } = await shown({
    jobs: [job({ state: 'failed', interrupted: true, machine: 'calm-otter', problem })]
  });
  screen.getByText('The server ended while it launched A100.');
  fireEvent.click(screen.getByText('Try again'));
  expect(run).toHaveBeenCalledWith(CommandIDs.launch, { request: { gpu: 'A100' } });

  says.machines = [machine()];
  says.jobs = [
    job({ state: 'done', interrupted: true, machine: 'calm-otter', said: ['It goes on.'] })
  ];
  await act(() => machines.refresh());
  expect(screen.getByRole('status').textContent).toMatch(/It goes on\..*Dismiss/);
});
