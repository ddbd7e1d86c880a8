from typing import List, Optional, Tuple

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .pseudo_labels import move_boxes

Mixed = Tuple[Tensor, List[InstanceData]]
Orders = List[List[int]]


class PseudoMix(nn.Module):
    """Mixes the images of a batch, with their pseudo-labels.

    Attributes:
        num_orders (int): How many random orders of the batch are mixed.
    """

    num_orders: int

    def forward(
        self,
        inputs: Tensor,
        labels: List[InstanceData],
        generator: Optional[torch.Generator] = None,
    ) -> Mixed:
        """Mix.

        Args:
            inputs (Tensor): ``(B, C, H, W)``.
            labels (list[InstanceData]): Pseudo-labels of each.
            generator (torch.Generator, optional): Of random numbers.

        Returns:
            tuple[Tensor, list[InstanceData]]: As many mixed ones.
        """
        orders = [
            torch.randperm(len(inputs), generator=generator).tolist()
            for _ in range(self.num_orders)
        ]
        return self.mix(inputs, labels, orders)

    def mix(
        self, inputs: Tensor, labels: List[InstanceData], orders: Orders
    ) -> Mixed:
        """Mix the images in the given orders of the batch."""
        raise NotImplementedError


@MODELS.register_module()
class PseudoMixUp(PseudoMix):
    """Lay each image over another one, with the pseudo-labels of both.

    As MixPL (arXiv:2312.07006): the mean of two images keeps the objects of
    both, and a missed one weighs less. Only images of one size are mixed.
    """

    num_orders = 1

    def mix(
        self, inputs: Tensor, labels: List[InstanceData], orders: Orders
    ) -> Mixed:
        (others,) = orders
        mixed = 0.5 * (inputs + inputs[others])
        return mixed, [
            InstanceData.cat([labels[i], labels[j]]) if i != j else labels[i]
            for i, j in enumerate(others)
        ]


@MODELS.register_module()
class PseudoMosaic(PseudoMix):
    """Tile four images at half their size, with their pseudo-labels.

    As MixPL's pseudo-mosaic: a batch of B images, with even sides, gives B
    mosaics, each image in four of them.
    """

    num_orders = 4

    def mix(
        self, inputs: Tensor, labels: List[InstanceData], orders: Orders
    ) -> Mixed:
        height, width = inputs.shape[-2:]
        small = F.interpolate(
            inputs, scale_factor=0.5, mode='bilinear', antialias=True
        )
        tiles = [small[order] for order in orders]
        mosaics = torch.cat(
            [torch.cat(tiles[:2], -1), torch.cat(tiles[2:], -1)], -2
        )
        places = [(0, 0), (width / 2, 0), (0, height / 2)]
        places.append((width / 2, height / 2))
        moves = [
            inputs.new_tensor([[0.5, 0, x], [0, 0.5, y], [0, 0, 1]]).float()
            for x, y in places
        ]
        return mosaics, [
            InstanceData.cat(
                [
                    move_boxes(labels[order[i]], move, (height, width))
                    for order, move in zip(orders, moves)
                ]
            )
            for i in range(len(inputs))
        ]
