"""Absent from the processes that tests start, as on most users' machines.

mmdet imports it wherever it is installed: a third of a start.
"""

raise ImportError('tests leave transformers out of the processes they start')
