"""What fsspec itself (pip install fsspec) asks for, to hold its rules in bench/http_peers.ts to it:

    npx tsx tools/patterns.ts print | python3 tools/fsspec_counts.py
"""

import sys

from fsspec.caching import BlockCache, ReadAheadCache

ZEROS = bytes(24 << 20)


def counts(make, size, reads):
    asked = [0, 0]

    def fetch(start, end):
        end = min(end, size)
        asked[0] += 1
        asked[1] += end - start
        return ZEROS[: end - start]

    cache = make(fetch, size)
    for at, length in reads:
        cache._fetch(at, at + length)
    return f"{asked[0]} / {asked[1] / 1e6:.2f}"


patterns = []
for line in sys.stdin:
    first, second = line.split()
    if line[0].isdigit():
        patterns[-1][2].append((int(first), int(second)))
    else:
        patterns.append((first, int(second), []))
for name, size, reads in patterns:
    ahead = counts(lambda fetch, n: ReadAheadCache(5 << 20, fetch, n), size, reads)
    blocks = counts(lambda fetch, n: BlockCache(64 << 10, fetch, n, 512), size, reads)
    print(f"{name}: readahead {ahead}, block cache {blocks}")
