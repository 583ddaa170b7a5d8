import { expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';

test('a seed gives one sequence, another seed another', () => {
  const draw = (seed: number) => {
    const prng = new Prng(seed);
    return Array.from({ length: 8 }, () => prng.u32());
  };
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
});

test('bounds are kept and reached', () => {
  const prng = new Prng(1);
  const seen = new Set(Array.from({ length: 500 }, () => prng.between(3, 6)));
  expect([...seen].sort()).toEqual([3, 4, 5, 6]);
  for (let i = 0; i < 500; i++) expect(prng.float()).toBeLessThan(1);
});
