"""Small images and annotation files for tests, and fixtures of them."""

import cv2
import numpy as np
import pytest

XML = """<annotation><filename>{stem}.jpg</filename>{size}
{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax>
</bndbox></object>"""


def write_image(path, width=40, height=30, seed=0):
    """Write noise, so that no two seeds give the same picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )
    assert cv2.imwrite(str(path), pixels)


def write_xml(path, objects, size=(40, 30)):
    """Write boxes given as (name, box) or (name, box, difficult)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = ''.join(
        OBJECT.format(*box, name=name, difficult=int(bool(rest)))
        for name, box, *rest in objects
    )
    sizes = size and (
        f'<size><width>{size[0]}</width><height>{size[1]}</height></size>'
    )
    path.write_text(XML.format(stem=path.stem, size=sizes or '', objects=text))


@pytest.fixture(scope='session', autouse=True)
def session_cache(tmp_path_factory):
    """Keep the cache of image checks out of the user's own."""
    folder = tmp_path_factory.mktemp('dsym_cache')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('DSYM_CACHE', str(folder))
        yield folder


@pytest.fixture
def voc_root(tmp_path):
    """Two images in VOC form: a scratch, a dent and a difficult dent."""
    root = tmp_path / 'voc'
    for seed, stem in enumerate(('a', 'b')):
        write_image(root / 'JPEGImages' / f'{stem}.jpg', seed=seed)
    write_xml(root / 'Annotations/a.xml', [('scratch', (1, 2, 11, 22))])
    write_xml(
        root / 'Annotations/b.xml',
        [('dent', (5, 5, 9, 9)), ('dent', (20, 10, 40, 30), True)],
    )
    return root
