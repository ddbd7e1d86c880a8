"""TypicalImages: Mahalanobis distance to the nearest labelled image."""

import pytest
import torch

from dsym.clip.typical import TypicalImages


@pytest.fixture
def points():
    """40 points of two directions, one ten times as wide and mixed in."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn((40, 2), generator=generator).double()
    return drawn @ torch.tensor([[10.0, 3], [0, 1]]).double() + 5


def mahalanobis(one, two, points):
    """Distances ``(N, M)`` by the points' covariance."""
    inverse = torch.linalg.inv(torch.cov(points.T, correction=0))
    gap = one[:, None] - two
    return torch.einsum('nmi,ij,nmj->nm', gap, inverse, gap).sqrt()


def test_likeness__is_mahalanobis_distance_to_the_nearest(points):
    typical = TypicalImages(points)
    assert len(typical) == 40
    others = torch.tensor([[5.0, 5], [30, -4], [5, 12]]).double()
    expected = mahalanobis(others, points, points).amin(1)
    torch.testing.assert_close(typical(others), -expected)
    zeros = torch.zeros(40).double()
    # the root of rounding errors of squares
    torch.testing.assert_close(typical(points), zeros, atol=1e-6, rtol=0)


def test_own__of_the_nearest_other(points):
    distances = mahalanobis(points, points, points)
    distances.fill_diagonal_(1e9)
    torch.testing.assert_close(TypicalImages(points).own(), -distances.amin(1))


@pytest.mark.parametrize(
    ('images', 'dims'), [(1, 1), (3, 1), (40, 10), (200, 24)]
)
def test_directions__a_quarter_of_the_images_and_no_more(images, dims):
    generator = torch.Generator().manual_seed(0)
    described = torch.randn((images, 64), generator=generator)
    typical = TypicalImages(described)
    assert typical.directions.shape == (64, dims)
    assert typical(described).isfinite().all()


def test_images_that_come_twice__count_once(points):
    """A RepeatDataset's copy is not another image: its distance is 0."""

    class Scorer:
        def describe(self, paths):
            return points[[int(path) for path in paths]]

    once = [(str(i), None, None) for i in range(40)]
    typical = TypicalImages.of(Scorer(), once * 3)
    assert len(typical) == 40
    assert typical.own().max() < 0


def test_least_own__of_one_image_refuses_none():
    typical = TypicalImages(torch.rand(1, 50))
    assert typical.least_own(0.025) == float('-inf')
