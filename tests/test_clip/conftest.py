import logging

import pytest
from mmengine.logging import MMLogger
from tiny_clip import RESNET, VIT, tiny_clip, write_images


@pytest.fixture(scope='session')
def resnet():
    return tiny_clip(RESNET)


@pytest.fixture(scope='session')
def vit():
    return tiny_clip(VIT)


@pytest.fixture(scope='session')
def image_paths(tmp_path_factory):
    """Three images of 96 x 80 px."""
    return write_images(tmp_path_factory.mktemp('images'))


@pytest.fixture
def warnings(caplog):
    """Lines that were warned with since the test began."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda: [
        r.getMessage() for r in caplog.records if r.levelno == logging.WARNING
    ]
    logger.removeHandler(caplog.handler)
