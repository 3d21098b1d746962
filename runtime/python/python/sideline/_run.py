"""Runs of a flow from Python code."""

import atexit
import json
import os
import time
from dataclasses import dataclass

from . import _native
from ._graph import Graph

# Interval between two calls of `on_progress`, s.
_INTERVAL_S = 0.2

# Runs that have not ended. They are kept, so that one without another reference is not cut off in mid-write.
_active = set()


@atexit.register
def _stop_active():
    # The threads of a run need the interpreter, so a program that ends first ends its runs in order.
    for run in list(_active):
        run.__exit__(SystemExit)


class Batch:
    """Rows of one table for one frame: `table`, `stream`, `session`, `frame`, `pts` (ns) and `seconds` say for which.

    It implements the Arrow PyCapsule interface, so `pyarrow.table(batch)` and `polars.DataFrame(batch)` read it without a copy,
    with the columns `stream`, `session`, `frame` and `pts` before those of the table.
    """

    __slots__ = ("_native",)

    def __init__(self, native):
        self._native = native

    @property
    def seconds(self):
        """Media time, s."""
        return self._native.pts * 1e-9

    def __getattr__(self, name):
        if name in ("table", "stream", "session", "frame", "pts"):
            return getattr(self._native, name)
        raise AttributeError(f"a batch has no attribute {name!r}")

    def __len__(self):
        return len(self._native)

    def __iter__(self):
        return iter(self._native.to_pylist())

    def __getitem__(self, key):
        return self._native.rows()[key]

    def __arrow_c_stream__(self, requested_schema=None):
        return self._native.__arrow_c_stream__(requested_schema)

    def to_pylist(self):
        """Returns the rows as a list of dictionaries."""
        return self._native.to_pylist()

    def arrow(self):
        """Returns a table of PyArrow."""
        import pyarrow

        return pyarrow.table(self)

    def pandas(self):
        """Returns a dataframe of pandas."""
        return self.arrow().to_pandas()

    def polars(self):
        """Returns a dataframe of Polars."""
        import polars

        return polars.DataFrame(self)

    def __repr__(self):
        return f"<Batch: {len(self)} rows of {self.table}, stream {self.stream}, frame {self.frame}>"


@dataclass(frozen=True)
class Progress:
    """Progress of a run."""

    seconds: float
    """Time since the start, s."""
    frames: int
    """Frames that are finished."""
    expected: int | None
    """Frames after which the run ends, if it has a limit."""
    fps: float
    """Frames per second of the slowest operator."""
    latency_ms: float
    """Median time from the capture of a frame to the outputs of the slowest operator, ms."""
    dropped: int
    """Frames that were dropped at the source."""
    errors: int
    """Errors of operators so far."""

    def __str__(self):
        of = "" if self.expected is None else f"/{self.expected}"
        text = f"{self.frames}{of} frames  {self.fps:.1f} fps  latency {self.latency_ms:.0f} ms"
        return text + "".join(f"  {n} {name}" for n, name in ((self.dropped, "dropped"), (self.errors, "errors")) if n)


class Run:
    """Run of a flow. Iterating gives a `Batch` for each frame and table with rows, in order, while the flow runs.

    At the end of the iteration a failure of the run is raised as `sideline.Error`; `report` has its counts. Leaving a `with` block
    or the iteration early stops the run.
    """

    def __init__(self, native, on_batch=None, on_progress=None, on_error=None):
        self._native = native
        self._report = None
        self._on_batch, self._on_progress, self._on_error = on_batch, on_progress, on_error
        self._is_failure_reported = False
        self._progress = Progress(0.0, 0, native.frames, 0.0, 0.0, 0, 0)
        self._reported_at = 0.0
        _active.add(self)

    @property
    def folder(self):
        """Folder of the results, for `sideline.open`."""
        return self._native.folder

    @property
    def dropped(self):
        """Number of batches that were dropped because nothing had read them, in live mode."""
        return self._native.dropped

    @property
    def progress(self):
        """Progress, as a `Progress`; after the end the last one."""
        read = self._native.progress()
        if read is not None:
            read = json.loads(read)
            self._progress = Progress(
                seconds=read["seconds"],
                frames=read["frames"],
                expected=self._native.frames,
                fps=read["fps"],
                latency_ms=read["latency_ms"]["p50"],
                dropped=read["forgotten"],
                errors=read["errors"],
            )
        return self._progress

    def _report_progress(self):
        if self._on_progress is None or time.monotonic() - self._reported_at < _INTERVAL_S:
            return
        self._on_progress(self.progress)
        self._reported_at = time.monotonic()

    def __iter__(self):
        try:
            while True:
                # Asked before the next batch is: rows that came until then are still to be read.
                has_ended = self._native.has_ended
                batch = self._native.next(_INTERVAL_S)
                self._report_progress()
                if batch is not None:
                    yield Batch(batch)
                elif has_ended:
                    break
        except BaseException as exception:
            # Also where the loop is left early: the results are complete afterwards.
            self.__exit__(type(exception))
            raise
        self._finish()

    async def __aiter__(self):
        import asyncio

        try:
            while True:
                has_ended = self._native.has_ended
                batch = await asyncio.to_thread(self._native.next, _INTERVAL_S)
                self._report_progress()
                if batch is not None:
                    yield Batch(batch)
                elif has_ended:
                    break
        except BaseException:
            self.stop()
            raise
        await asyncio.to_thread(self._finish)

    def stop(self):
        """Asks the run to stop: sources end, and what is in flight is finished."""
        self._native.stop()
        self._native.close()

    def wait(self):
        """Waits for the end and returns the report of the run, the one of `sideline run --json`. Calls `on_batch` and `on_progress`.

        Raises `sideline.Error` if the run failed, or calls `on_error`. Rows that were not read are given up.
        """
        if self._on_batch is None or self._report is not None:
            return self._finish()
        for batch in self:
            self._on_batch(batch)
        return self._report

    def _finish(self):
        failure = self.report.get("failure")
        if failure:
            error = _native.Error(failure["message"])
            if self._on_error is None:
                raise error
            if not self._is_failure_reported:
                self._is_failure_reported = True
                self._on_error(error)
        return self._report

    @property
    def report(self):
        """Report of the run after its end, also of one that failed."""
        if self._report is None:
            self._native.close()
            self._report_progress()
            while not self._native.wait_for(_INTERVAL_S):
                self._report_progress()
            self._report = json.loads(self._wait_native())
            if self._on_progress is not None:
                self._on_progress(self.progress)
        return self._report

    def _wait_native(self):
        try:
            return self._native.wait()
        finally:
            _active.discard(self)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._report is None:
            self.stop()
            try:
                self._report = json.loads(self._wait_native())
            except _native.Error:
                if exception[0] is None:
                    raise


def run(flow, *, input=None, tables=(), set=None, mode=None, output=None, frames=None, duration=None, device=None,
        on_batch=None, on_progress=None, on_error=None):
    """Starts a flow and returns its `Run`.

    flow: path of the file, or a `Graph`.
    input: video, folder, camera or address for the source of the flow.
    tables: names of the tables (or outputs `NODE/OUTPUT`) whose rows the run gives while it runs.
    set: keys, as in {"tracker.lost_buffer_s": 2}.
    mode: "complete" or "live".
    output: folder of the results.
    frames, duration: end after this number of frames, or seconds, of each stream.
    device: "auto", "cpu", "cuda" or "tensorrt".
    on_batch: called by `wait` with each `Batch`, in place of a loop.
    on_progress: called with a `Progress` five times a second, in the loop or in `wait`.
    on_error: called with the `sideline.Error` of a run that failed, which is not raised then.

    In complete mode the flow waits for a reader that is slower than it; in live mode the oldest rows are dropped and counted by
    `Run.dropped`.
    """
    text = flow.to_yaml() if isinstance(flow, Graph) else None
    arguments = [os.fspath(flow) if text is None else flow.name]
    if isinstance(tables, str):
        tables = [tables]
    for name, value in (
        ("input", input), ("mode", mode), ("output", output), ("frames", frames), ("duration", duration), ("device", device)
    ):
        if value is not None:
            arguments += [f"--{name}", os.fspath(value) if isinstance(value, os.PathLike) else str(value)]
    for key, value in (set or {}).items():
        arguments += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return Run(_native.start(arguments, list(tables), text), on_batch, on_progress, on_error)
