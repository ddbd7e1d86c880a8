r"""Memory of a process that lists unlabelled images, for docs/scaling.md.

    python tools/benchmarks/listing.py --out docs/benchmarks/listing.json

Lists of 1,000 to 1,000,000 paths are written to a temporary folder; for each,
a process of its own builds ``StreamedImageDataset`` and ``PermutedSampler``,
asks for 1,000 paths of a pass, and says by how much its peak memory grew and
how many seconds that took. Beside it: a list of Python texts, as mmengine's
data sets build it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from dsym.provenance import describe_machine, git_commit

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
STREAMED = """
import json, resource, sys, time
from dsym.datasets import PermutedSampler, StreamedImageDataset

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before, begin = peak(), time.perf_counter()
data = StreamedImageDataset(ann_file=sys.argv[1], cache_dir=sys.argv[2])
for place, index in zip(range(1000), PermutedSampler(data, seed=0)):
    data.paths[index]
seconds = time.perf_counter() - begin
print(json.dumps(dict(mib=peak() - before, seconds=seconds)))
"""
LISTED = """
import json, random, resource, sys, time
import dsym.datasets

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before, begin = peak(), time.perf_counter()
with open(sys.argv[1]) as file:
    data = [dict(img_path=x.strip(), img_id=i) for i, x in enumerate(file)]
order = random.sample(range(len(data)), len(data))
seconds = time.perf_counter() - begin
print(json.dumps(dict(mib=peak() - before, seconds=seconds)))
"""


def measure(script: str, *arguments: str) -> dict:
    """Run a script in a process of its own and read its last line."""
    done = subprocess.run(
        [sys.executable, '-c', script, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            file = Path(folder) / f'{count}.txt'
            with file.open('w') as out:
                for i in range(count):
                    out.write(f'/a/folder/of/many/images/{i:09d}.png\n')
            rows[count] = dict(
                streamed=measure(STREAMED, str(file), folder),
                listed=measure(LISTED, str(file)),
            )
            print(count, rows[count], flush=True)
    if args.out:
        report = dict(
            commit=git_commit(), machine=describe_machine(), images=rows
        )
        args.out.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
