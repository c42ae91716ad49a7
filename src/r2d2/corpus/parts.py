"""The former names of what `runner` holds."""

from r2d2.corpus.funnel import StageCount
from r2d2.corpus.runner import Runner as Places
from r2d2.corpus.runner import Work as AnyWork
from r2d2.corpus.runner import map_jobs as map_parts

Work = AnyWork[StageCount]

__all__ = ["Places", "Work", "map_parts"]
