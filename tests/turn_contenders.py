"""Contenders of a benchmark, in processes that import nothing else."""

import os
import sys
import tempfile
import time
from dataclasses import dataclass


@dataclass
class Sleeper:
    """Writes its name at each step, which takes a while."""

    name: str
    log: str
    seconds: float

    def __call__(self, gate):
        while True:
            with open(self.log, 'a') as file:
                file.write(self.name)
            time.sleep(self.seconds)
            gate()


def broken(gate):
    raise ValueError('no such model')


def not_installed(gate):
    sys.exit('peer.py: error: the code is not installed:\npip it')


def silent(gate):
    time.sleep(600)


@dataclass
class Named:
    """Writes the id of its process at its first step."""

    log: str

    def __call__(self, gate):
        with open(self.log, 'w') as file:
            file.write(str(os.getpid()))
        while True:
            gate()


@dataclass
class Litter:
    """Leaves a folder of temporary files at its first step; names it."""

    log: str

    def __call__(self, gate):
        with open(self.log, 'w') as file:
            file.write(tempfile.mkdtemp())
        while True:
            gate()
