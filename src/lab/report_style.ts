/** How a report looks: one column on a phone, light and dark by the reader's system, no font and no picture from elsewhere. */
import { rampCss } from '../view/ramp.ts';

/** Folios have colours `--o0` …, one an order; requests `--r0` …, one a log2 of their pages. */
export const reportCss = (orders: number, sizes: number): string => `
:root { color-scheme: light dark; --ground:#fff; --ink:#1b1f24; --soft:#57606a; --line:#d0d7de; --card:#f6f8fa; --link:#0550ae;
  --read:#0550ae; --write:#b93815; --active:#2166ac; --inactive:#92c5de; --dirty:#b93815; --limit:#1b1f24; ${rampCss('o', orders, false)}${rampCss('r', sizes, false)} }
@media (prefers-color-scheme: dark) { :root { --ground:#14171c; --ink:#e6edf3; --soft:#9da7b3; --line:#3a424c; --card:#1d2229; --link:#79b8ff;
  --read:#79b8ff; --write:#ff9b70; --active:#4f9be0; --inactive:#2b5577; --dirty:#ff9b70; --limit:#e6edf3; ${rampCss('o', orders, true)}${rampCss('r', sizes, true)} } }
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 } h2 { font-size: 1.25rem; margin: 2.2rem 0 .3rem; padding-top: .6rem; border-top: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem } p { margin: .3rem 0 .8rem; max-width: 50rem } .soft, figcaption small { color: var(--soft) }
a { color: var(--link) } th a { color: inherit; text-decoration-style: dotted; text-underline-offset: .2em }
a:focus-visible, .scroll:focus-visible, summary:focus-visible, input:focus-visible { outline: 2px solid var(--link); outline-offset: 2px }
nav ul { display: flex; flex-wrap: wrap; gap: 0 1.2rem; padding: 0; margin: .5rem 0; list-style: none } nav a { display: inline-block; padding: .3rem 0 }
.says { max-width: 56rem; padding-left: 1.2rem } .says li { margin: .35rem 0 }
.scroll { overflow-x: auto; margin: .4rem 0 1.2rem; border: 1px solid var(--line); border-radius: 6px }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: normal }
caption { text-align: left; font-weight: 600; padding: .5rem .6rem; position: sticky; left: 0 }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-top: 1px solid var(--line) }
thead th { font-weight: 600; color: var(--soft); vertical-align: bottom } tbody th { text-align: left; font-weight: 500 }
th:first-child { position: sticky; left: 0; background: var(--ground); max-width: 14rem; white-space: normal } tbody tr:nth-child(even) th:first-child { background: var(--card) }
thead th:first-child { text-align: left } tbody tr:nth-child(even) { background: var(--card) } td small { color: var(--soft); margin-left: .4em }
details { margin: .3rem 0 1rem } summary { cursor: pointer; color: var(--link); padding: .3rem 0 }
.legend { display: flex; flex-wrap: wrap; gap: .2rem .9rem; padding: 0; margin: .4rem 0 .8rem; list-style: none; font-size: .875rem }
.legend i { display: inline-block; width: 1.1em; height: .8em; margin-right: .35em; border: 1px solid var(--soft); vertical-align: -1px }
.legend svg { width: 1.8em; height: .8em; margin-right: .35em; vertical-align: -1px; overflow: visible }
.bars { padding: 0; margin: .4rem 0 .6rem; list-style: none; font-size: .875rem }
.bars li { display: grid; grid-template: "label picture value" auto / 12rem 1fr 11rem; gap: 0 .8rem; align-items: center; margin: .35rem 0 }
.bars li > :first-child { grid-area: label } .bars svg { grid-area: picture } .bars li > :last-child { grid-area: value; font-variant-numeric: tabular-nums }
.bar, .strip { display: block; width: 100%; height: 1.5rem; background: var(--card); outline: 1px solid var(--line) }
.strip { height: 1.75rem } .bar rect { stroke: var(--ground); stroke-width: 1 } .bar text { font-size: .75rem; text-anchor: middle; dominant-baseline: central }
.strip.boxes path { stroke: var(--ground); stroke-width: 1.5px; vector-effect: non-scaling-stroke }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: 1rem; margin: .6rem 0 }
figure { margin: 0; min-width: 0 } figcaption { font-size: .875rem; font-weight: 600; display: flex; justify-content: space-between; gap: .6rem }
figcaption small { font-weight: 400; white-space: nowrap } .frame { position: relative }
.plot { display: block; width: 100%; height: 7.5rem; background: var(--card); outline: 1px solid var(--line) }
.frame i { position: absolute; top: 0; bottom: 0; width: 0; border-left: 1px solid var(--ink); pointer-events: none }
.axis { display: flex; justify-content: space-between; font-size: .75rem; color: var(--soft) } output { display: block; min-height: 1.2rem; font-size: .75rem; font-variant-numeric: tabular-nums }
.plot path, .key { fill: none; stroke-width: 2px; vector-effect: non-scaling-stroke; stroke-linejoin: round }
.key.dashed, .plot .dashed { stroke-dasharray: 5 3 } .plot .dotted, .key.dotted { stroke-dasharray: 1.5 3 }
.plot .active, .key.active { fill: var(--active); stroke: none } .plot .inactive, .key.inactive { fill: var(--inactive); stroke: none }
.cached { stroke: var(--ink); stroke-width: 1px !important } .dirty { stroke: var(--dirty) } .limit { stroke: var(--limit) } .read { stroke: var(--read) } .write { stroke: var(--write) }
.moment { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: center; font-size: .875rem } .moment input { flex: 1 1 12rem; min-width: 0; max-width: 30rem; accent-color: var(--link) } [hidden] { display: none !important }
dt { font-weight: 600; margin-top: .6rem } dd { margin: 0; max-width: 50rem } dt:target, dt:target + dd { background: var(--card) }
footer { margin-top: 2.5rem; padding-top: .6rem; border-top: 1px solid var(--line); font-size: .875rem; color: var(--soft) }
@media (min-width: 60rem) { .panels.fit { grid-template-columns: repeat(var(--columns), 1fr) } }
@media (max-width: 44rem) { th:first-child { max-width: 8.5rem } .bars li { grid-template: "label value" auto "picture picture" auto / minmax(9rem, 1fr) minmax(0, auto); margin: .6rem 0 } .bars li > :last-child { text-align: right } }
@media print { nav, .moment { display: none !important } .scroll { overflow: visible } }
`;
