from typing import List, Optional, Tuple

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .pseudo_labels import move_boxes

Boxes = List[InstanceData]
Orders = List[List[int]]


class PseudoMix(nn.Module):
    """Mixes the images of a batch, with their pseudo-labels.

    Boxes that the student shall ignore go with their image as the labels do:
    what may be a defect is no background in a mixed image either.

    Attributes:
        num_orders (int): How many random orders of the batch are mixed.
    """

    num_orders: int

    def forward(
        self,
        inputs: Tensor,
        labels: Boxes,
        ignored: Boxes,
        generator: Optional[torch.Generator] = None,
    ) -> Tuple[Tensor, Boxes, Boxes]:
        """Mix.

        Args:
            inputs (Tensor): ``(B, C, H, W)``.
            labels (list[InstanceData]): Pseudo-labels of each, ``bboxes`` in
                its pixels.
            ignored (list[InstanceData]): Boxes to ignore of each, likewise.
            generator (torch.Generator, optional): Of random numbers.

        Returns:
            tuple[Tensor, list[InstanceData], list[InstanceData]]: As many
            mixed ones.
        """
        orders = [
            torch.randperm(len(inputs), generator=generator).tolist()
            for _ in range(self.num_orders)
        ]
        return (
            self.mix_images(inputs, orders),
            self.mix_boxes(labels, orders, inputs),
            self.mix_boxes(ignored, orders, inputs),
        )

    def mix_images(self, inputs: Tensor, orders: Orders) -> Tensor:
        """Mix the images in the given orders of the batch."""
        raise NotImplementedError

    def mix_boxes(self, boxes: Boxes, orders: Orders, inputs: Tensor) -> Boxes:
        """Put the boxes of images where :meth:`mix_images` put these."""
        raise NotImplementedError


@MODELS.register_module()
class PseudoMixUp(PseudoMix):
    """Lay each image over another one, with the pseudo-labels of both.

    As MixPL (arXiv:2312.07006): the mean of two images keeps the objects of
    both, and a missed one weighs less. Only images of one size are mixed.
    """

    num_orders = 1

    def mix_images(self, inputs: Tensor, orders: Orders) -> Tensor:
        return 0.5 * (inputs + inputs[orders[0]])

    def mix_boxes(self, boxes: Boxes, orders: Orders, inputs: Tensor) -> Boxes:
        return [
            InstanceData.cat([boxes[i], boxes[j]]) if i != j else boxes[i]
            for i, j in enumerate(orders[0])
        ]


@MODELS.register_module()
class PseudoMosaic(PseudoMix):
    """Tile four images at half their size, with their pseudo-labels.

    As MixPL's pseudo-mosaic: a batch of B images, with even sides, gives B
    mosaics, each image in four of them.
    """

    num_orders = 4

    def mix_images(self, inputs: Tensor, orders: Orders) -> Tensor:
        small = F.interpolate(
            inputs, scale_factor=0.5, mode='bilinear', antialias=True
        )
        tiles = [small[order] for order in orders]
        return torch.cat(
            [torch.cat(tiles[:2], -1), torch.cat(tiles[2:], -1)], -2
        )

    def mix_boxes(self, boxes: Boxes, orders: Orders, inputs: Tensor) -> Boxes:
        height, width = inputs.shape[-2:]
        places = [(0, 0), (width / 2, 0), (0, height / 2)]
        places.append((width / 2, height / 2))
        moves = [
            inputs.new_tensor([[0.5, 0, x], [0, 0.5, y], [0, 0, 1]]).float()
            for x, y in places
        ]
        return [
            InstanceData.cat(
                [
                    move_boxes(boxes[order[i]], move, (height, width))
                    for order, move in zip(orders, moves)
                ]
            )
            for i in range(len(inputs))
        ]
