"""yapf without its work: it takes seconds to lay a runner's config out."""

__version__ = '0.40.2'  # of which mmengine wants no verification
