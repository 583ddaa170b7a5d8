import { describe, expect, test } from 'vitest';
import { QuireError } from '../../src/base/errors.ts';
import {
  atLeast,
  type Change,
  compareReleases,
  history,
  inForce,
  type Laws,
  RELEASE_NAMES,
  type Release,
  readIn,
  release,
  releases,
} from '../../src/mm/release.ts';

const entries = Object.entries(history) as [keyof Laws, readonly Change<unknown>[]][];

describe('the history of each law', () => {
  test.each(entries)('%s: from 5.15 on, oldest first, each change a change', (_, changes) => {
    expect(changes[0]?.since).toBe('5.15');
    for (let i = 1; i < changes.length; i++) {
      const before = changes[i - 1] as Change<unknown>;
      const after = changes[i] as Change<unknown>;
      expect(compareReleases(before.since, after.since)).toBeLessThan(0);
      expect(after.law).not.toEqual(before.law);
    }
  });

  test.each(entries)('%s: no law comes back once it is gone', (_, changes) => {
    const laws = changes.map((c) => c.law);
    expect(new Set(laws).size).toBe(laws.length);
  });

  test.each(entries)(
    '%s: each change names a kernel file, its function and a release, or a publication',
    (_, changes) => {
      for (const { source, sure } of changes) {
        if (sure === 'read') {
          expect(source).toMatch(/^(mm|fs|block|include)\/[\w./-]+\.[ch] \w+/);
          expect(source).toMatch(/\d+\.\d+\.\d+/);
        } else expect(source).not.toBe('');
      }
    },
  );

  test('a law is read in a text not older than its first release, but for those that stable series took early', () => {
    for (const [name, changes] of entries) {
      for (const { since, source, sure } of changes) {
        if (sure !== 'read') continue;
        const texts = source.match(/\d+\.\d+\.\d+/g) ?? [];
        expect(
          texts.some((text) => compareReleases(text, since) >= 0),
          `${name} since ${since}: ${source}`,
        ).toBe(true);
      }
    }
  });
});

describe('presets', () => {
  test('every release has every law, and nothing else', () => {
    const wanted = [...Object.keys(history), 'name'].sort();
    for (const name of RELEASE_NAMES) {
      expect(Object.keys(releases[name]).sort()).toEqual(wanted);
      expect(Object.values(releases[name])).not.toContain(undefined);
      expect(releases[name].name).toBe(name);
    }
  });

  test('are flat data that survives a JSON round trip', () => {
    for (const name of RELEASE_NAMES) expect(JSON.parse(JSON.stringify(releases[name]))).toEqual(releases[name]);
  });

  test('follow each other in time, each different from the one before', () => {
    for (let i = 1; i < RELEASE_NAMES.length; i++) {
      const before = RELEASE_NAMES[i - 1] as Release['name'];
      const after = RELEASE_NAMES[i] as Release['name'];
      expect(compareReleases(before, after)).toBeLessThan(0);
      expect({ ...releases[after], name: before }).not.toEqual(releases[before]);
    }
  });

  test('stand on a text of their own series, 5.18 on the next one', () => {
    for (const name of RELEASE_NAMES) {
      const series = readIn[name].split('.').slice(0, 2).join('.');
      expect(series).toBe(name === '5.18' ? '5.19' : name);
    }
  });

  test.each([
    ['readahead', ['page', 'ondemand', 'ondemand', 'ondemand', 'hit-order', 'stored-order', 'stored-order-eof']],
    ['readaheadMark', ['up', 'up', 'down', 'down', 'down', 'down', 'down']],
    ['largeFolioOrder1', [false, false, false, true, true, true, true]],
    ['nextMissFull', ['last', 'last', 'last', 'last', 'beyond', 'beyond', 'beyond']],
    ['prevMissFull', ['last', 'last', 'last', 'last', 'last', 'last', 'beyond']],
    ['readPastEof', ['creates-page', 'returns', 'returns', 'returns', 'returns', 'returns', 'returns']],
    ['prevPos', ['folio', 'folio', 'folio', 'call', 'call', 'call', 'call']],
    ['markAccessedFirst', ['page', 'page', 'folio', 'folio', 'folio', 'folio', 'folio']],
    ['iomapWrite', ['page', 'page', 'page', 'length', 'length', 'length', 'length']],
    ['genericWrite', ['page', 'page', 'page', 'page', 'length', 'length', 'length']],
    ['iomapDirty', ['folio', 'folio', 'folio', 'block', 'block', 'block', 'block']],
    ['truncateSplit', ['uniform', 'uniform', 'uniform', 'uniform', 'uniform', 'non-uniform', 'non-uniform']],
    ['tmpfsHuge', ['pmd', 'pmd', 'pmd', 'pmd', 'pmd', 'pmd-first', 'all-orders']],
    ['dropbehind', [false, false, false, false, false, true, true]],
    ['buddyFallback', ['steal', 'steal', 'steal', 'steal', 'claim', 'claim', 'claim']],
  ] as const)('%s', (law, wanted) => {
    expect(RELEASE_NAMES.map((name) => releases[name][law])).toEqual(wanted);
  });

  test('write(2) makes large folios only where readahead does', () => {
    for (const name of RELEASE_NAMES) {
      if (releases[name].iomapWrite === 'length') expect(releases[name].readahead).not.toBe('page');
    }
  });
});

describe('names and order of releases', () => {
  test('an unknown kernel is an error that lists the known ones', () => {
    expect(() => release('6.13')).toThrow(QuireError);
    expect(() => release('6.13')).toThrow(/kernel 6\.13: no such preset; there are 5\.15, .*7\.3/);
    expect(() => release('__proto__')).toThrow(QuireError);
    expect(release('6.18')).toBe(releases['6.18']);
  });

  test('releases are compared by number, not by letter', () => {
    expect(compareReleases('6.6', '6.12')).toBeLessThan(0);
    expect(compareReleases('6.12', '6.12.117')).toBeLessThan(0);
    expect(compareReleases('7.3', '6.18')).toBeGreaterThan(0);
    expect(compareReleases('6.1', '6.1.0')).toBe(0);
    expect(atLeast(releases['6.12'], '6.6')).toBe(true);
    expect(atLeast(releases['6.6'], '6.6')).toBe(true);
    expect(atLeast(releases['6.6'], '6.12')).toBe(false);
  });

  test('the change in force is the newest that is not newer', () => {
    const changes = [{ since: '5.15' }, { since: '6.6' }, { since: '6.12' }];
    expect(inForce(changes, '6.6')?.since).toBe('6.6');
    expect(inForce(changes, '6.11')?.since).toBe('6.6');
    expect(inForce(changes, '5.14')).toBeUndefined();
  });
});
