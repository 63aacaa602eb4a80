import { fireEvent, screen } from '@testing-library/react';
import React from 'react';
import { expect, test } from 'vitest';

import { Buckets } from '../components/buckets';
import { Clouds } from '../components/clouds';
import { unsent } from '../dialogs';
import type * as Api from '../schema';
import { CommandIDs } from '../tokens';
import { job, machine } from './rig';
import { shown } from './shown';

const MOUNT: Api.Mount = {
  url: 's3://lab/runs',
  path: '/data',
  read_only: false,
  up: true,
  why: '',
  unsent: 3,
  unsent_bytes: 3_400_000,
  names: ['a.pt', 'b.pt'],
  open: ['b.pt'],
  expires_at: null
};
const BELOW: Api.BucketFolder = {
  url: 's3://lab/runs',
  entries: [
    { name: '1', url: 's3://lab/runs/1', folder: true, size: null, changed_at: null },
    { name: 'a b.pt', url: 's3://lab/runs/a b.pt', folder: false, size: 12, changed_at: 1 }
  ],
  more: 0
};

test('a mount says what is not in its bucket yet', async () => {
  await shown(<Buckets open />, {
    machines: [machine()],
    'machines/calm-otter/mounts': { mounts: [MOUNT], problem: null }
  });
  const item = (await screen.findByText('s3://lab/runs')).closest('li');
  expect(item?.textContent).toMatch(/3 unsent.*calm-otter:\/data/);
  expect(item?.textContent).toMatch(/a.pt, b.pt \+ 1 \(3.4 MB\) · still open: b.pt/);
  expect(unsent(MOUNT)).toBe('a.pt, b.pt + 1');
});

test('a bucket is mounted where it is said, and a refusal stays with the form', async () => {
  const { asked, says } = await shown(<Buckets open />, {
    machines: [machine()],
    'machines/calm-otter/mounts': { mounts: [], problem: null }
  });
  await screen.findByText(/Nothing is mounted/);
  const problem = { code: 'configuration', message: 'It is no bucket.', billed: '', hint: '' };
  says['machines/calm-otter/mounts'] = new Response(JSON.stringify(problem), { status: 400 });
  fireEvent.change(screen.getByLabelText('Bucket and place'), { target: { value: 'x' } });
  fireEvent.submit(screen.getByRole('form', { name: 'Mount a bucket' }));
  await screen.findByText('It is no bucket.');
  const sent = asked.find(({ method }) => method === 'POST');
  expect(sent).toMatchObject({ path: 'machines/calm-otter/mounts', body: { mount: 'x' } });
});

test('folders of a bucket are read when they are opened', async () => {
  const { says, asked } = await shown(<Buckets open />, { buckets: BELOW });
  fireEvent.change(screen.getByLabelText('Bucket'), { target: { value: 's3://lab/runs' } });
  fireEvent.submit(screen.getByRole('form', { name: 'Look into a bucket' }));
  const file = await screen.findByLabelText('Download a b.pt');
  expect(file.getAttribute('href')).toBe(
    'http://here/user/x/gpu-remote/api/buckets/file?url=s3%3A%2F%2Flab%2Fruns%2Fa+b.pt'
  );
  expect(asked.filter(({ path }) => path === 'buckets')).toHaveLength(1);
  says['buckets'] = { url: 's3://lab/runs/1', entries: [], more: 0 };
  const folder = screen.getByText('1/').closest('details') as HTMLDetailsElement;
  folder.open = true;
  fireEvent(folder, new Event('toggle'));
  await screen.findByText('There is nothing in it.');
});

test('a cloud without credentials offers to set it up', async () => {
  const cloud = { provider: 'aws', title: 'AWS', problem: null, login: 'aws configure' };
  const clouds = [
    { ...cloud, state: 'missing', login_missing: '' },
    { ...cloud, provider: 'gcp', title: 'Google Cloud', state: 'usable', login_missing: '' }
  ];
  const { run } = await shown(<Clouds />, { clouds: { at: 1, clouds } });
  fireEvent.click(await screen.findByText('Set up'));
  expect(run).toHaveBeenCalledWith(CommandIDs.setUpCloud, { cloud: 'aws' });
  screen.getByText('credentials found');
});

test('what a launch mounts is sent along', async () => {
  const { machines, asked } = await shown(<Buckets open={false} />, { launches: job() });
  await machines.launch({ cloud: 'local', mount: ['s3://a:/b'] });
  expect(asked.find(({ path }) => path === 'launches')?.body).toMatchObject({
    mount: ['s3://a:/b']
  });
});
