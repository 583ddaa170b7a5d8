/** Rasters in tiles and in one strip, read by geotiff and by @cogeotiff/core through the cache and from memory. */
import { type Source, Tiff } from '@cogeotiff/core';
import { fromArrayBuffer, GeoTIFF, writeArrayBuffer } from 'geotiff';
import { describe, expect, test } from 'vitest';
import { cogSource } from '../../../src/cache/adapters/cogeotiff.ts';
import { geotiffSource } from '../../../src/cache/adapters/geotiff.ts';
import { expectBytes, through } from './through.ts';
import { tiffPyramid } from './tiff_pyramid.ts';

const SIDE = 1024;
const TILE = 64;
const { bytes, levels } = tiffPyramid(SIDE, TILE);
const buffer = bytes.buffer;

const bytesOf = (samples: unknown): Uint8Array => {
  const view = samples as Uint16Array;
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
};
const expectSame = (got: unknown, wanted: unknown): void => expectBytes(bytesOf(got), bytesOf(wanted), 'samples');

describe('geotiff', () => {
  test('whole rasters and windows of it are the same', async () => {
    await using at = await through(bytes);
    expect(bytes.length).toBeGreaterThan(2 * 1280 * 1024);
    const cached = await (await GeoTIFF.fromSource(geotiffSource(at.file))).getImage();
    const plain = await (await fromArrayBuffer(buffer)).getImage();
    expect(cached.getTileWidth()).toBe(plain.getTileWidth());
    for (const window of [
      [0, 0, SIDE, SIDE],
      [130, 70, 131, 300],
      [300, 300, 460, 320],
    ]) {
      const got = await cached.readRasters({ window });
      expect(got.width).toBe((window[2] as number) - (window[0] as number));
      expectSame(got[0], (await plain.readRasters({ window }))[0]);
    }
    expectSame((await cached.readRasters())[0], levels[0]?.samples);
  });

  test('every overview is the same', async () => {
    await using at = await through(bytes);
    const tiff = await GeoTIFF.fromSource(geotiffSource(at.file));
    expect(await tiff.getImageCount()).toBe(levels.length);
    for (const [i, level] of levels.entries()) {
      const image = await tiff.getImage(i);
      expect([image.getWidth(), image.getHeight()]).toEqual([level.side, level.side]);
      expectSame((await image.readRasters())[0], level.samples);
    }
  });

  test('what geotiff itself wrote: one strip', async () => {
    const values = Array.from({ length: 300 * 200 }, (_, i) => (i * 37) % 251);
    const written = writeArrayBuffer(values, { width: 300, height: 200 });
    await using at = await through(new Uint8Array(written));
    const image = await (await GeoTIFF.fromSource(geotiffSource(at.file))).getImage();
    expect([...((await image.readRasters())[0] as Uint8Array)]).toEqual(values);
    expect(image.getGeoKeys()).toEqual((await (await fromArrayBuffer(written)).getImage()).getGeoKeys());
  });

  test('a window that was read once costs no further request', async () => {
    await using at = await through(bytes, '2MiB');
    const read = async () => {
      const image = await (await GeoTIFF.fromSource(geotiffSource(at.file))).getImage();
      return (await image.readRasters({ window: [0, 0, 200, 200] }))[0];
    };
    const first = await read();
    const { requests } = at.source;
    expectSame(await read(), first);
    expect(at.source.requests).toBe(requests);
  });

  test('a signal ends a read', async () => {
    await using at = await through(bytes);
    const image = await (await GeoTIFF.fromSource(geotiffSource(at.file))).getImage();
    const stop = new AbortController();
    const reading = image.readRasters({ window: [0, 400, SIDE, SIDE], signal: stop.signal });
    stop.abort(new Error('the map moved on'));
    await expect(reading).rejects.toThrow('the map moved on');
  });

  test('the source of the host is closed with the file', async () => {
    await using at = await through(bytes);
    await (await GeoTIFF.fromSource(geotiffSource(at.file))).close();
    expect(at.source.closed).toBe(true);
  });
});

describe('cogeotiff', () => {
  const inMemory: Source = {
    url: new URL('memory://raster.tif'),
    fetch: async (offset, length = bytes.length) => bytes.slice(offset, offset + length).buffer,
  };

  test('every tile is the same', async () => {
    await using at = await through(bytes);
    const cached = await Tiff.create(cogSource(at.file, 'memory://raster.tif'));
    const plain = await Tiff.create(inMemory);
    const [image, same] = [cached.images[0], plain.images[0]];
    expect(image?.size).toEqual({ width: SIDE, height: SIDE });
    expect(image?.isTiled()).toBe(same?.isTiled());
    expect(cached.images.length).toBe(levels.length);
    const { x, y } = image?.tileCount ?? { x: 0, y: 0 };
    expect(x * y).toBe((SIDE / TILE) ** 2);
    for (let row = 0; row < y; row++) {
      for (let column = 0; column < x; column++) {
        const tile = await image?.getTile(column, row);
        expect(tile?.bytes.byteLength).toBe(2 * TILE * TILE);
        expectBytes(
          tile?.bytes as ArrayBuffer,
          new Uint8Array((await same?.getTile(column, row))?.bytes as ArrayBuffer),
        );
      }
    }
  });

  test('a signal ends a read', async () => {
    await using at = await through(bytes);
    const tiff = await Tiff.create(cogSource(at.file, 'memory://raster.tif'));
    const stop = new AbortController();
    const reading = tiff.images[0]?.getTile(7, 7, { signal: stop.signal });
    stop.abort(new Error('the map moved on'));
    await expect(reading).rejects.toThrow('the map moved on');
  });
});
