"""The six NEU-DET defect classes, shared by every data set that has them."""

#: Class names in label order, spelled as in NEU-DET's annotation files.
CLASSES = (
    'crazing',
    'inclusion',
    'patches',
    'pitted_surface',
    'rolled-in_scale',
    'scratches',
)

#: One RGB colour a class, easy to tell apart on grey steel.
PALETTE = [
    (220, 20, 60),
    (0, 130, 200),
    (60, 180, 75),
    (255, 165, 0),
    (145, 30, 180),
    (0, 210, 210),
]
