from mmcv.cnn import ConvModule
from torch import Tensor, nn

from ...ops import bn_silu, can_fuse


class ConvBNSiLU(ConvModule):
    """mmcv's ``ConvModule``, whose norm and SiLU train as one C++ operator.

    The same parameters, names and, but for rounding, values. In eval mode, on
    a GPU, in NCHW order or with another norm or activation it is just that.
    """

    def forward(
        self, x: Tensor, activate: bool = True, norm: bool = True
    ) -> Tensor:
        """Convolve, normalize, activate.

        Args:
            x (Tensor): ``(N, C_in, H, W)``.
            activate (bool): As in ``ConvModule``. Defaults to True.
            norm (bool): As in ``ConvModule``. Defaults to True.

        Returns:
            Tensor: ``(N, C_out, H', W')``.
        """
        if not (
            self.training
            and activate
            and norm
            and self.with_norm
            and self.with_activation
            and isinstance(self.activate, nn.SiLU)
        ):
            return super().forward(x, activate, norm)
        x = super().forward(x, activate=False, norm=False)
        if can_fuse(x, self.norm):
            return bn_silu(x, self.norm)
        return self.activate(self.norm(x))
