import math
from typing import Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .causal_conv import causal_conv_silu
from .selective_scan import selective_scan


class Mamba(nn.Module):
    """Mamba-1 block with the parameters of ``mamba_ssm.Mamba``.

    ``out_proj(scan(silu(conv1d(x))) * silu(z))``, ``x, z = in_proj(input)``
    (Gu and Dao, "Mamba", arXiv:2312.00752, figure 3). Names, shapes, initial
    values and output are mamba-ssm's, so weights move both ways; it needs no
    CUDA. Features stay in token-major order ``(B, L, C)`` throughout, which is
    how channels-last feature maps lie in memory.

    Args:
        d_model (int): Channels of input and output.
        d_state (int): States N of a channel. Defaults to 16.
        d_conv (int): Width of the causal convolution. Defaults to 4.
        expand (float): Inner channels in parts of ``d_model``. Defaults to 2.
        dt_rank (int or str): Rank of the step sizes; 'auto' is
            ``d_model / 16``, rounded up. Defaults to 'auto'.
        dt_min (float): Least initial step. Defaults to 0.001.
        dt_max (float): Greatest initial step. Defaults to 0.1.
        dt_init_floor (float): Lower bound of it. Defaults to 1e-4.
        conv_bias (bool): Defaults to True.
        bias (bool): Of both outer projections. Defaults to False.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        dt_rank: Union[int, str] = 'auto',
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.d_inner = int(expand * d_model)
        self.d_state = d_state
        self.dt_rank = (
            math.ceil(d_model / 16) if dt_rank == 'auto' else dt_rank
        )
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=bias)
        self.conv1d = nn.Conv1d(
            self.d_inner,
            self.d_inner,
            d_conv,
            groups=self.d_inner,
            padding=d_conv - 1,
            bias=conv_bias,
        )
        self.x_proj = nn.Linear(
            self.d_inner, self.dt_rank + 2 * d_state, bias=False
        )
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        self.A_log = nn.Parameter(torch.empty(self.d_inner, d_state))
        self.D = nn.Parameter(torch.empty(self.d_inner))
        # mamba-ssm's marks: no weight decay on these, and no new start of the
        # steps' bias, which is no offset of features
        self.A_log._no_weight_decay = self.D._no_weight_decay = True
        self.dt_proj.bias._no_reinit = True
        if conv_bias:
            self.conv1d.bias._no_warmup = True
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias)
        self.dt_range = dt_min, dt_max, dt_init_floor
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Start the rates at -1 .. -N and the steps in their range."""
        rates = torch.arange(1, self.d_state + 1, dtype=torch.float32)
        self.A_log.copy_(rates.log().expand_as(self.A_log))
        self.D.fill_(1)
        bound = self.dt_rank**-0.5
        nn.init.uniform_(self.dt_proj.weight, -bound, bound)
        low, high, floor = self.dt_range
        steps = torch.exp(
            torch.rand(self.d_inner) * math.log(high / low) + math.log(low)
        ).clamp(min=floor)
        # the inverse of softplus
        self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Mix the tokens of each sequence, from the first to the last.

        Args:
            hidden_states (Tensor): ``(B, L, d_model)``.

        Returns:
            Tensor: ``(B, L, d_model)``.
        """
        x, z = self.in_proj(hidden_states).chunk(2, -1)
        x = causal_conv_silu(x, self.conv1d)
        steps, B, C = self.x_proj(x).split(
            [self.dt_rank, self.d_state, self.d_state], -1
        )
        y = selective_scan(
            x.transpose(1, 2),
            F.linear(steps, self.dt_proj.weight).transpose(1, 2),
            -torch.exp(self.A_log.float()),
            B.transpose(1, 2),
            C.transpose(1, 2),
            self.D.float(),
            z=z.transpose(1, 2),
            delta_bias=self.dt_proj.bias.float(),
            delta_softplus=True,
        )
        return self.out_proj(y.transpose(1, 2))
