import { expect, test } from 'vitest';

import { duration, money, points } from '../format';

test('small amounts have the digits that show them grow', () => {
  expect([0, 0.0123, 0.1, 12.345].map(money)).toEqual(['$0.00', '$0.0123', '$0.10', '$12.35']);
});

test('time spans have one or two units', () => {
  expect([-5, 59, 61, 3900, 200_000].map(duration)).toEqual([
    '0 s',
    '59 s',
    '1 min',
    '1 h 05 min',
    '2 d 7 h'
  ]);
});

test('a line ends at the right, however few figures there are', () => {
  expect(points([0, 1], 5, 100, 20)).toBe('75.0,20.0 100.0,0.0');
});
