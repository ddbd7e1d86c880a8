"""Write small images and annotation files for tests."""

import cv2
import numpy as np

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
