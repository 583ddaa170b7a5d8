/** `quire-mm/lab`: recordings in, replays and comparisons out. Needs Node. */
export { detect, openTrace } from '../trace/detect.ts';
export type { Events, TraceFile, TraceSettings, TraceSource } from '../trace/event.ts';
export { writeOps } from '../trace/ops_write.ts';
export { compare } from './compare.ts';
export { Replay, type Sampler } from './replay.ts';
export { cachedFolios, type ReplayResult, resultOf } from './result.ts';
export type { Settings } from './settings.ts';
