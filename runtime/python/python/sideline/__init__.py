"""Dataflows for live sports video: operators in Python, runs and their results.

An operator is a decorated class or function in a file, which a flow names as `args: run my_op.py`:

    import sideline

    @sideline.operator(reads={"frames": sideline.frames}, writes={"light": sideline.table("light", mean=float)})
    def light(frames):
        \"\"\"Measures the brightness of each frame.\"\"\"
        return [{"mean": frames.y.mean()}]

`sideline.run` runs a flow and iterates over its rows, `sideline.open` reads the results of a run, and `python -m sideline` is
the command line.
"""

import sys

if sys.version_info < (3, 11):
    raise ImportError(
        "the package `sideline` needs Python 3.11 or newer, this is "
        f"{sys.version_info[0]}.{sys.version_info[1]} at {sys.executable}"
    )

from . import _native
from ._columns import array, column, f32, f64, i64, struct, table, u8, u16, u32, u64
from ._graph import Graph
from ._operator import feedback, frames, hold, key, operator, optional, skip
from ._results import open
from ._run import Batch, Progress, Run, run
from ._native import Context, Error, Frame, Rows

__version__ = _native.VERSION

__all__ = [
    "Batch", "Context", "Error", "Frame", "Graph", "Progress", "Rows", "Run", "array", "column", "f32", "f64", "feedback", "frames", "hold",
    "i64", "key", "open", "operator", "optional", "run", "skip", "struct", "table", "u16", "u32", "u64", "u8",
]
