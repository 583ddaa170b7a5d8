/** `quire-mm/lab`: recordings in, replays and comparisons out. Needs Node. */
export type { Accesses, AccessSource, SpaceEvent } from '../trace/access.ts';
export { detect, isAccessFormat, openAccesses, openTrace } from '../trace/detect.ts';
export type { Events, TraceFile, TraceSettings, TraceSource } from '../trace/event.ts';
export { writeOps } from '../trace/ops_write.ts';
export { writeQacc } from '../trace/qacc_write.ts';
export { type Area, areasFromMaps, areasFromRegions } from './access_areas.ts';
export { compareAccesses } from './access_compare.ts';
export { accessCurves } from './access_curves.ts';
export { AccessReplay } from './access_replay.ts';
export { compare } from './compare.ts';
export { Replay, type Sampler } from './replay.ts';
export { cachedFolios, type ReplayResult, resultOf } from './result.ts';
export type { Settings } from './settings.ts';
