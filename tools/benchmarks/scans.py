"""Selective scans and the machine's own limits, as contenders."""

import math
from dataclasses import dataclass
from typing import Callable, Dict

import torch
from peers.mamba_ssm_reference import import_mamba_ssm

from dsym.models.layers import selective_scan
from dsym.ops import load_ops

from .alternation import Gate

FLOAT_BYTES = 4


@dataclass
class Shape:
    """Size of a scan.

    Attributes:
        batch (int): Sequences.
        channels (int): Channels D.
        length (int): Tokens L.
        states (int): States N of a channel.
    """

    batch: int
    channels: int
    length: int
    states: int = 16

    @property
    def name(self) -> str:
        """What a table calls it."""
        return f'B{self.batch}_D{self.channels}_L{self.length}'

    @property
    def bytes(self) -> int:
        """What a forward must move: u, delta, y, B and C of each token."""
        numbers = 3 * self.channels + 2 * self.states
        return self.batch * self.length * numbers * FLOAT_BYTES

    @property
    def exponentials(self) -> int:
        """What a forward must compute: one a token, channel and state."""
        return self.batch * self.length * self.channels * self.states

    def inputs(self) -> Dict[str, torch.Tensor]:
        """Random inputs as a Mamba block has them, with gradients."""
        batch, d, n, length = (
            self.batch, self.channels, self.states, self.length,
        )  # fmt: skip

        def tokens(width: int) -> torch.Tensor:
            return torch.randn(batch, length, width).transpose(1, 2)

        rates = torch.arange(1, n + 1, dtype=torch.float32)
        tensors = dict(
            u=tokens(d),
            delta=tokens(d),
            A=-rates.expand(d, n).contiguous(),
            B=tokens(n),
            C=tokens(n),
            D=torch.ones(d),
            delta_bias=torch.full((d,), -3.0),
        )
        return {name: x.requires_grad_() for name, x in tensors.items()}


@dataclass
class Scan:
    """Forward and, if wanted, backward of a scan.

    Attributes:
        backend (str): One of ours, or 'reference' for mamba-ssm's
            ``selective_scan_ref``.
        shape (Shape): Its size.
        backward (bool): Whether gradients are computed. Defaults to True.
    """

    backend: str
    shape: Shape
    backward: bool = True

    def function(self) -> Callable:
        """The scan."""
        if self.backend == 'reference':
            module = import_mamba_ssm()
            return module.ops.selective_scan_interface.selective_scan_ref

        def ours(**tensors: torch.Tensor) -> torch.Tensor:
            return selective_scan(**tensors, backend=self.backend)

        return ours

    def __call__(self, gate: Gate) -> None:
        """Scan until the gate says stop."""
        torch.manual_seed(0)
        scan, tensors = self.function(), self.shape.inputs()
        if self.backend == 'reference':  # minutes a step: none to set up
            gate()
        while True:
            with torch.set_grad_enabled(self.backward):
                y = scan(**tensors, delta_softplus=True)
            if self.backward:
                y.sum().backward()
                for x in tensors.values():
                    x.grad = None
            gate()


@dataclass
class Operator:
    """The C++ forward alone: no softplus, no change of memory order.

    Attributes:
        shape (Shape): Its size.
    """

    shape: Shape

    @torch.inference_mode()
    def __call__(self, gate: Gate) -> None:
        """Scan until the gate says stop."""
        inputs = self.shape.inputs()
        few = {name: inputs[name] for name in ('u', 'A', 'B', 'C', 'D')}
        delta = torch.nn.functional.softplus(inputs['delta'] - 3)
        while True:
            selective_scan(**few, delta=delta, backend='cpp')
            gate()


@dataclass
class Copy:
    """Moves as many bytes as a forward must, half read and half written.

    Attributes:
        shape (Shape): Of the scan.
    """

    shape: Shape

    def __call__(self, gate: Gate) -> None:
        """Copy until the gate says stop."""
        source = torch.ones(self.shape.bytes // 2 // FLOAT_BYTES)
        target = torch.empty_like(source)
        while True:
            target.copy_(source)
            gate()


@dataclass
class Exponentials:
    """Computes as many exponentials as a forward must, and nothing else.

    By the operator's own vectors: ``torch.exp`` is slower than they are.

    Attributes:
        shape (Shape): Of the scan.
    """

    shape: Shape
    block: int = 2**10  # 4 KiB of float32, in the nearest cache

    def __call__(self, gate: Gate) -> None:
        """Compute until the gate says stop."""
        load_ops()
        x = torch.linspace(-10, 0, self.block)
        times = math.ceil(self.shape.exponentials / self.block)
        while True:
            torch.ops.dsym.sum_exp2(x, times)
            gate()
