import { expect, test } from 'vitest';

import { filledWith, type Form, gpuNames, queryOf, requestOf } from '../form';
import { OFFER } from './rig';

const FORM: Form = {
  gpu: 'A100-80GB',
  count: '2',
  cloud: '',
  on: 'user@host',
  region: '',
  spot: true,
  maxPrice: '1.5',
  idle: '30',
  maxHours: '',
  budget: 'nonsense',
  mount: ''
};

test('what is typed becomes a request; what is empty is left to the settings', () => {
  expect(requestOf(FORM, 'a.ipynb')).toEqual({
    gpu: 'A100-80GB:2',
    spot: true,
    max_price: 1.5,
    idle: 30,
    budget: null,
    mount: [],
    notebook: 'a.ipynb'
  });
});

test('several buckets are told apart, blanks in their folders or not', () => {
  const mount = ' s3://a/b c:/data, gs://d:~/x:ro  file:///e:/f ';
  expect(requestOf({ ...FORM, mount }, '').mount).toEqual([
    's3://a/b c:/data',
    'gs://d:~/x:ro',
    'file:///e:/f'
  ]);
});

test('an SSH destination is only sent along with that cloud', () => {
  expect(requestOf({ ...FORM, cloud: 'ssh' }, '').on).toBe('user@host');
});

test('prices are asked for what the form names', () => {
  expect(queryOf({ ...FORM, cloud: 'aws' })).toEqual({
    gpu: 'A100-80GB:2',
    cloud: 'aws',
    spot: true,
    max_price: 1.5
  });
});

test('the local machine has no market', () => {
  expect(queryOf({ ...FORM, gpu: '', cloud: 'local', maxPrice: '' })).toEqual({ cloud: 'local' });
});

test('an offer fills the form and keeps what it says nothing of', () => {
  const filled = filledWith({ ...FORM, idle: '45' }, OFFER);
  expect(filled).toMatchObject({
    gpu: 'A100',
    count: '2',
    cloud: 'aws',
    region: 'us-east-1',
    idle: '45'
  });
});

test('a GPU sold with several sizes of memory is offered by size, too', () => {
  const gpus = [
    { name: 'A100', memory: [40, 80] },
    { name: 'T4', memory: [16] }
  ];
  expect(gpuNames(gpus)).toEqual(['A100', 'A100-40GB', 'A100-80GB', 'T4']);
});
