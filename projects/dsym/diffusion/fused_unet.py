from diffusers import UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers import Transformer2DModel
from torch import nn

from ..ops import InferenceGroupNorm


def fuse_norms(unet: UNet2DConditionModel) -> None:
    """Make one operator of each group norm and its SiLU, for painting.

    A residual block's SiLU also stands before its time embedding's layer,
    where it stays. Names of parameters change: a fused UNet is not for saving.

    Args:
        unet (UNet2DConditionModel): Changed in place.
    """
    for block in unet.modules():
        if isinstance(block, ResnetBlock2D) and _is_plain(block):
            block.norm1 = InferenceGroupNorm(block.norm1)
            block.norm2 = InferenceGroupNorm(block.norm2)
            if block.time_emb_proj is not None and not block.skip_time_act:
                block.time_emb_proj = nn.Sequential(
                    block.nonlinearity, block.time_emb_proj
                )
            block.nonlinearity = nn.Identity()
        elif isinstance(block, Transformer2DModel) and isinstance(
            block.norm, nn.GroupNorm
        ):
            block.norm = InferenceGroupNorm(block.norm, silu=False)
    if isinstance(unet.conv_norm_out, nn.GroupNorm) and isinstance(
        unet.conv_act, nn.SiLU
    ):
        unet.conv_norm_out = InferenceGroupNorm(unet.conv_norm_out)
        unet.conv_act = nn.Identity()


def _is_plain(block: ResnetBlock2D) -> bool:
    """Whether SiLU follows both norms at once."""
    return (
        isinstance(block.nonlinearity, nn.SiLU)
        and isinstance(block.norm1, nn.GroupNorm)
        and isinstance(block.norm2, nn.GroupNorm)
        and block.time_embedding_norm == 'default'
    )
