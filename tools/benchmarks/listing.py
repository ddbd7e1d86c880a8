r"""Memory of a process with many unlabelled images, for docs/scaling.md.

    python tools/benchmarks/listing.py lists --out docs/benchmarks/listing.json
    python tools/benchmarks/listing.py features \
        --out docs/benchmarks/features.json

``lists``: of 1,000 to 1,000,000 made-up paths. A process of its own builds
``StreamedImageDataset`` and ``PermutedSampler`` for each and asks for 1,000
paths of a pass. Beside it: a list of Python texts, as mmengine's data sets
build it. ``features``: of 1,000 to 1,000,000 files, each with another content;
a process of its own makes their features in a ``FeatureCache``, by a stub
that gives eight zeros: hashing and writing are what is measured.

Both say by how much the process's peak memory grew, in MiB, and the seconds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict

from dsym.provenance import describe_machine, git_commit

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
BEGIN = """
import json, random, resource, sys, time
import torch
from dsym.clip.cache import FeatureCache
from dsym.datasets import PermutedSampler, StreamedImageDataset

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before, begin = peak(), time.perf_counter()
"""
END = """
seconds = time.perf_counter() - begin
print(json.dumps(dict(mib=peak() - before, seconds=seconds)))
"""
STREAMED = """
data = StreamedImageDataset(ann_file=sys.argv[1], cache_dir=sys.argv[2])
for place, index in zip(range(1000), PermutedSampler(data, seed=0)):
    data.paths[index]
"""
LISTED = """
with open(sys.argv[1]) as file:
    data = [dict(img_path=x.strip(), img_id=i) for i, x in enumerate(file)]
order = random.sample(range(len(data)), len(data))
"""
FEATURES = """
def encode(paths):
    return torch.zeros(len(paths), 8)

paths = (f'{sys.argv[1]}/{i}' for i in range(int(sys.argv[2])))
FeatureCache(encode, 'key', sys.argv[1]).warm(paths)
"""


def measure(script: str, *arguments: str) -> Dict[str, float]:
    """Run a script in a process of its own and read its last line."""
    done = subprocess.run(
        [sys.executable, '-c', BEGIN + script + END, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def lists(count: int, folder: str) -> Dict[str, Any]:
    """Measure a list of made-up paths.

    Args:
        count (int): Of paths.
        folder (str): An empty one.

    Returns:
        dict: ``streamed`` and ``listed``, each of :func:`measure`.
    """
    file = Path(folder) / 'list.txt'
    with file.open('w') as out:
        for i in range(count):
            out.write(f'/a/folder/of/many/images/{i:09d}.png\n')
    return dict(
        streamed=measure(STREAMED, str(file), folder),
        listed=measure(LISTED, str(file)),
    )


def features(count: int, folder: str) -> Dict[str, Any]:
    """Measure the cache of files' features.

    Args:
        count (int): Of files.
        folder (str): An empty one.

    Returns:
        dict: Of :func:`measure`.
    """
    for i in range(count):
        (Path(folder) / str(i)).write_text(str(i))
    return measure(FEATURES, folder, str(count))


def main() -> None:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('what', choices=['lists', 'features'])
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    work = features if args.what == 'features' else lists
    rows = {}
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            rows[count] = work(count, folder)
        print(count, rows[count], flush=True)
    if args.out:
        report = dict(
            commit=git_commit(), machine=describe_machine(), images=rows
        )
        args.out.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
