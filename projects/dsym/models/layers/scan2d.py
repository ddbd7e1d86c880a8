import functools
import warnings
from typing import Callable, Dict, NamedTuple, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from ...errors import InputError
from .mamba import Mamba

# From the numbers of a map's places (H, W) to sequences of them (k, L).
Walk = Callable[[np.ndarray], np.ndarray]


def _rows(places: np.ndarray) -> np.ndarray:
    return places.reshape(1, -1)


def _columns(places: np.ndarray) -> np.ndarray:
    return places.T.reshape(1, -1)


def _reversed(walk: Walk) -> Walk:
    return lambda places: walk(places)[:, ::-1]


WALKS = (_rows, _columns, _reversed(_rows), _reversed(_columns))


def _strided(places: np.ndarray) -> np.ndarray:
    """Every second row and column, four times, each walked another way."""
    return np.concatenate(
        [walk(places[i // 2 :: 2, i % 2 :: 2]) for i, walk in enumerate(WALKS)]
    )


# Of each way of scanning, one Mamba block a walk.
SCANS: Dict[str, Tuple[Walk, ...]] = {
    'bidirectional': (_rows, _reversed(_rows)),
    'cross': WALKS,
    'strided': (_strided,),
}


class Order(NamedTuple):
    """Where the tokens of a walk are in a map, whose places have numbers.

    Attributes:
        length (int): Of a sequence.
        places (Tensor): Of each token, its place in the map.
        tokens (Tensor): Of each place, its token.
    """

    length: int
    places: Tensor
    tokens: Tensor


@functools.lru_cache(maxsize=128)
def order_of(walk: Walk, size: torch.Size, device: torch.device) -> Order:
    """Walk over the numbered places of a map.

    Args:
        walk (callable): The way.
        size (torch.Size): Height and width of the map.
        device (torch.device): Where the order is wanted.

    Returns:
        Order: On that device.
    """
    sequences = walk(np.arange(size.numel()).reshape(size))
    places = torch.from_numpy(sequences.flatten())
    tokens = torch.from_numpy(sequences.argsort(None))
    return Order(sequences.shape[1], places.to(device), tokens.to(device))


class _Permute(Function):
    """Rows in another order; the gradient of an index would be a sum."""

    @staticmethod
    def forward(ctx, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.order, ctx.inverse = order, inverse
        return x.index_select(1, order)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tuple[Tensor, None, None]:
        return _Permute.apply(grad, ctx.inverse, ctx.order), None, None


def _permute(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    if torch.onnx.is_in_onnx_export():  # it has no autograd functions
        return x.index_select(1, order)
    return _Permute.apply(x, order, inverse)


def _size(rows: Tensor) -> torch.Size:
    """Height and width, which an export of one image size may fix."""
    if not torch.jit.is_tracing():
        return rows.shape[1:3]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        return torch.Size(int(n) for n in rows.shape[1:3])


class Scan2D(nn.Module):
    """Mix a feature map by selective scans: ``x + mean_k mamba_k(norm(x))``.

    Ways to make sequences of a map (``scan``):

    - 'bidirectional': rows, forwards and backwards, as Vim
      (arXiv:2401.09417); twice the tokens of the map, two Mamba blocks.
    - 'cross': rows and columns, both ways, as VMamba (arXiv:2401.10166); four
      times the tokens, four blocks.
    - 'strided': four interleaved grids of every second row and column, each
      walked one of the four ways by one block, as EfficientVMamba's atrous
      scan (arXiv:2403.09977); as many tokens as the map has.

    Args:
        channels (int): Channels of the map.
        scan (str): One of these. Defaults to 'strided'.
        zero_init (bool): Start with nothing added to the map; else as Mamba
            starts its last layer. Defaults to True.
        **mamba: Of :class:`Mamba`: ``d_state``, ``expand``, ``d_conv``, ...

    Raises:
        InputError: If ``scan`` is something else.
    """

    def __init__(
        self,
        channels: int,
        scan: str = 'strided',
        zero_init: bool = True,
        **mamba,
    ) -> None:
        super().__init__()
        if scan not in SCANS:
            raise InputError(
                f'scan={scan!r} of Scan2D: give one of {tuple(SCANS)}'
            )
        self.walks = SCANS[scan]
        # the strided walk wants as many even as odd rows and columns
        self.multiple = 2 if scan == 'strided' else 1
        self.zero_init = zero_init
        self.norm = nn.LayerNorm(channels)
        self.norm.bias._no_warmup = True
        self.mixers = nn.ModuleList(
            Mamba(channels, **mamba) for _ in self.walks
        )

    def init_weights(self) -> None:
        """Start as Mamba does, but for the last layer with ``zero_init``."""
        for mixer in self.mixers:
            mixer.init_weights()
            if self.zero_init:
                nn.init.zeros_(mixer.out_proj.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Mix.

        Args:
            x (Tensor): ``(B, C, H, W)``.

        Returns:
            Tensor: ``(B, C, H, W)``.
        """
        rows = self.norm(x.permute(0, 2, 3, 1))
        height, width = _size(rows)
        below, right = -height % self.multiple, -width % self.multiple
        if below or right:
            rows = F.pad(rows, (0, 0, 0, right, 0, below))
        mixed = [
            self._mix(rows, walk, mixer)
            for walk, mixer in zip(self.walks, self.mixers)
        ]
        mean = mixed[0] if len(mixed) == 1 else sum(mixed) / len(mixed)
        return x + mean[:, :height, :width].permute(0, 3, 1, 2)

    def _mix(self, rows: Tensor, walk: Walk, mixer: Mamba) -> Tensor:
        """Mix a map ``(B, H, W, C)`` along one walk."""
        size = _size(rows)
        order = order_of(walk, size, rows.device)
        tokens = _permute(rows.flatten(1, 2), order.places, order.tokens)
        tokens = mixer(tokens.reshape(-1, order.length, rows.size(-1)))
        tokens = tokens.reshape(-1, size.numel(), rows.size(-1))
        return _permute(tokens, order.tokens, order.places).unflatten(1, size)
