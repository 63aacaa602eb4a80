import { act, fireEvent, screen } from '@testing-library/react';
import React from 'react';
import { expect, test, vi } from 'vitest';

import { Jobs } from '../components/jobs';
import { OutputView } from '../components/output';
import { settled } from '../terminal';
import { CommandIDs } from '../tokens';
import { NOW, run } from './rig';
import { shown } from './shown';

test('a job says what runs where, for how long, and can be cancelled', async () => {
  const { run: execute } = await shown(<Jobs />, { runs: [run()] });
  const item = screen.getByText('train.py --lr 0.1').closest('li');
  expect(item?.textContent).toMatch(/running3 · calm-otter · 2 min/);
  fireEvent.click(screen.getByLabelText('Cancel job 3…'));
  expect(execute).toHaveBeenCalledWith(CommandIDs.cancelRun, { job: 3 });
});

test('a job that has ended says why and how long it took, and can be forgotten', async () => {
  const ended = run({ state: 'failed', ended_at: NOW - 120, note: 'ValueError' });
  const { run: execute } = await shown(<Jobs />, { runs: [ended] });
  const item = screen.getByText('train.py --lr 0.1').closest('li');
  expect(item?.textContent).toMatch(/failed3 · calm-otter · 5 sValueError/);
  expect(screen.queryByLabelText('Cancel job 3…')).toBeNull();
  fireEvent.click(screen.getByLabelText('Forget job 3…'));
  expect(execute).toHaveBeenCalledWith(CommandIDs.forgetRun, { job: 3 });
});

test('before there is a job, the way to one is shown', async () => {
  await shown(<Jobs />);
  screen.getByText(/%%remote --detach/);
});

test('the end of a job is told once, whether by the event or by the list', async () => {
  const { machines, says, push } = await shown(<Jobs />, {
    runs: [run({ id: 1, state: 'done' }), run()]
  });
  const told: string[] = [];
  machines.runEnded.connect((_, notice) => told.push(`${notice.id} ${notice.state}`));
  push('run', { ...run({ state: 'done' }) });
  says.runs = [run({ state: 'done' }), run({ id: 4 })];
  await act(() => machines.refresh());
  says.runs = [run({ state: 'done' }), run({ id: 4, state: 'failed' })];
  await act(() => machines.refresh());
  push('run', { id: 4, state: 'forgotten', machine: '', title: '', note: '' });
  expect(told).toEqual(['3 done', '4 failed']);
});

test('an output goes on where it was, until it has ended', async () => {
  const first = { run: run(), start: 0, next: 4, text: 'one\n', ended: false };
  const { says, asked } = await shown(<OutputView id={3} visible />, { 'runs/3/output': first });
  await screen.findByText('one');
  says['runs/3/output'] = { ...first, start: 4, next: 8, text: 'two\n', ended: true };
  await vi.waitFor(
    () => {
      expect(screen.getByLabelText('Output').textContent).toBe('one\ntwo\n');
    },
    { timeout: 5000 }
  );
  expect(asked.filter(({ path }) => path === 'runs/3/output')).toHaveLength(2);
});

test('an output that is gone says so', async () => {
  const problem = { code: 'job', message: 'It is gone.', billed: '', hint: '' };
  await shown(<OutputView id={3} visible />, {
    'runs/3/output': new Response(JSON.stringify(problem), { status: 404 })
  });
  await screen.findByText('It is gone.');
});

test('a progress bar is one line, and colours are left out', () => {
  expect(settled('10%\r 50%\r100%\ndone')).toBe('100%\ndone');
  expect(settled('long line\rnew')).toBe('newg line');
  expect(settled('a\r\nb')).toBe('a\nb');
  expect(settled('\x1b[0;31mValueError\x1b[0m: no')).toBe('ValueError: no');
});
