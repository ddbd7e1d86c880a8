"""A mixin that lets any detection data set verify its images at start-up."""

from typing import List, Tuple

from .image_checks import keep_readable
from .issues import Issue, handle_issues


class VerifiedImagesMixin:
    """Skip unreadable images when the annotations are loaded.

    Put it before a data set class whose data infos hold ``img_path``::

        @DATASETS.register_module()
        class VerifiedCocoDataset(VerifiedImagesMixin, YOLOv5CocoDataset):
            pass

    Args:
        verify_images (bool): Decode every image once (in threads, the result
            is cached) and skip those that fail, with one warning that counts
            and names them; also raise
            :class:`~dsym.datasets.issues.DatasetError` for images that do
            not exist. Defaults to True.
    """

    def __init__(self, *args, verify_images: bool = True, **kwargs) -> None:
        self.verify_images = verify_images
        super().__init__(*args, **kwargs)

    def readable(
        self, data_list: List[dict]
    ) -> Tuple[List[dict], List[Issue]]:
        """Split off the images that cannot be read, if asked to verify.

        Args:
            data_list (list[dict]): Data infos with ``img_path``.

        Returns:
            tuple[list[dict], list[Issue]]: The readable ones, with ``width``
            and ``height`` set, and what was found.
        """
        return (
            keep_readable(data_list)
            if self.verify_images
            else (
                data_list,
                [],
            )
        )

    def load_data_list(self) -> List[dict]:
        """Load the annotations of the readable images."""
        data_list, issues = self.readable(super().load_data_list())
        handle_issues(issues, type(self).__name__)
        return data_list
