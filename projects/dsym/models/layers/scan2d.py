from typing import Callable, Dict, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import InputError
from .mamba import Mamba


class Order(NamedTuple):
    """A way to walk over a feature map ``(B, H, W, C)``.

    Attributes:
        to_tokens (callable): Gives the tokens ``(B', L', C)``.
        to_map (callable): Takes tokens and the map's shape back.
    """

    to_tokens: Callable[[Tensor], Tensor]
    to_map: Callable[[Tensor, torch.Size], Tensor]


def _rows(x: Tensor) -> Tensor:
    return x.flatten(1, 2)


def _from_rows(tokens: Tensor, shape: torch.Size) -> Tensor:
    return tokens.unflatten(1, shape[1:3])


def _columns(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(1, 2)


def _from_columns(tokens: Tensor, shape: torch.Size) -> Tensor:
    return tokens.unflatten(1, (shape[2], shape[1])).transpose(1, 2)


def _reversed(order: Order) -> Order:
    return Order(
        lambda x: order.to_tokens(x).flip(1),
        lambda tokens, shape: order.to_map(tokens.flip(1), shape),
    )


ROWS = Order(_rows, _from_rows)
COLUMNS = Order(_columns, _from_columns)
WALKS = (ROWS, COLUMNS, _reversed(ROWS), _reversed(COLUMNS))


def _strided(x: Tensor) -> Tensor:
    """Every second row and column, four times, each walked another way."""
    x = F.pad(x, (0, 0, 0, x.size(2) % 2, 0, x.size(1) % 2))
    return torch.cat(
        [
            walk.to_tokens(x[:, i // 2 :: 2, i % 2 :: 2])
            for i, walk in enumerate(WALKS)
        ]
    )


def _from_strided(tokens: Tensor, shape: torch.Size) -> Tensor:
    batch, height, width, channels = shape
    half = torch.Size((batch, (height + 1) // 2, (width + 1) // 2, channels))
    grids = [
        walk.to_map(part, half)
        for walk, part in zip(WALKS, tokens.split(batch))
    ]
    # (row, column, B, H / 2, W / 2, C) to (B, H / 2, row, W / 2, column, C)
    x = torch.stack(grids).unflatten(0, (2, 2)).permute(2, 3, 0, 4, 1, 5)
    return x.flatten(3, 4).flatten(1, 2)[:, :height, :width]


# Of each way of scanning, one Mamba block an order.
SCANS: Dict[str, tuple] = {
    'bidirectional': (ROWS, _reversed(ROWS)),
    'cross': WALKS,
    'strided': (Order(_strided, _from_strided),),
}


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
        self.orders = SCANS[scan]
        self.zero_init = zero_init
        self.norm = nn.LayerNorm(channels)
        self.norm.bias._no_warmup = True
        self.mixers = nn.ModuleList(
            Mamba(channels, **mamba) for _ in self.orders
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
        mixed = sum(
            order.to_map(mixer(order.to_tokens(rows)), rows.shape)
            for order, mixer in zip(self.orders, self.mixers)
        )
        return x + mixed.permute(0, 3, 1, 2) / len(self.orders)
