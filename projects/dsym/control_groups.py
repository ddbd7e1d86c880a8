"""Control groups of Linux: the limits of containers, slices and jobs."""

from pathlib import Path
from typing import Iterator

CGROUPS = Path('/sys/fs/cgroup')
OWN_GROUPS = Path('/proc/self/cgroup')


def own_groups(
    controller: str, root: Path = CGROUPS, table: Path = OWN_GROUPS
) -> Iterator[Path]:
    """Folders of the groups that this process is in, its own first.

    A limit holds for all groups below, so whoever asks for one takes the
    smallest of all. The outermost folders are always among them: inside a
    container they are the container's, and the table may name places that
    can be seen outside only.

    Args:
        controller (str): Such as ``memory``, for the groups of version 1.
        root (Path): Where the control groups are mounted.
        table (Path): Lines of ``number:controllers:group``; version 2 names
            no controllers.

    Yields:
        Path: A folder that exists.
    """
    places = {root: Path('/'), root / controller: Path('/')}
    if table.is_file():
        for line in table.read_text().splitlines():
            _, controllers, group = line.split(':', 2)
            if not controllers:
                places[root] = Path(group)
            elif controller in controllers.split(','):
                places[root / controller] = Path(group)
    for top, group in places.items():
        # '/../other' is a group outside of the container
        inside = group if '..' not in group.parts else Path('/')
        for part in (inside, *inside.parents):
            folder = top / part.relative_to('/')
            if folder.is_dir():
                yield folder
