"""Two gloo ranks, forked from one import of dsym."""

import json
import os
import subprocess
import sys

START = """
import datetime, json, multiprocessing, sys
import torch.distributed

def work(rank):
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{sys.argv[1]}',
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(minutes=2),
    )
    return main(rank, *sys.argv[2:])

with multiprocessing.get_context('fork').Pool(2) as pool:
    found = pool.map(work, [0, 1], chunksize=1)
print(json.dumps(found))
"""


def on_two_ranks(code, folder, *arguments):
    """Run a function on two ranks.

    Args:
        code (str): Defines ``main(rank, *arguments)``, which gives what JSON
            can hold.
        folder (Path): Empty, for the meeting of both.
        *arguments: Texts or paths.

    Returns:
        tuple[list, str]: What each rank gave, and all that was printed.
    """
    done = subprocess.run(
        [sys.executable, '-c', code + START, folder / 'store', *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        timeout=300,
    )
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return found, done.stdout + done.stderr
