"""Test harness of operators: pushes frames and rows into an operator by the driver of a real run.

    from sideline.testing import Harness

    light = Harness(light)
    light.push(frames=numpy.zeros((48, 64, 3), "uint8"))
    assert light.expect("light") == [{"mean": 16.0}]
"""

import json

from . import _native
from ._operator import _Declaration, skip


class Harness:
    """Harness around one operator, with values for its keys: `Harness(PunchCounter, gate=0.7)`."""

    def __init__(self, operator, **keys):
        declaration = getattr(operator, "__sideline__", None)
        if not isinstance(declaration, _Declaration):
            raise TypeError(f"{operator!r} is no operator: decorate it with @sideline.operator(...)")
        self._native = _native.NativeHarness(declaration, json.dumps(declaration.description), json.dumps(keys))

    def push(self, **inputs):
        """Pushes one frame with these inputs: rows as for an output, a frame as an array of height x width x 3 bytes in the order
        blue, green, red (the operator gets it as i420, as from a source), or `sideline.skip(reason)`. An input that is not named is
        skipped."""
        values = [(n, value, value.reason if isinstance(value, skip) else None) for n, value in inputs.items()]
        self._native.push(values)

    def expect(self, output):
        """Takes the next message of an output: a list of dictionaries, or an array of pixels."""
        kind, value = self._native.take(output)
        if kind not in ("rows", "frame"):
            raise AssertionError(f"output `{output}`: data expected, found {kind} {value if value else ''}".rstrip())
        return value

    def expect_skipped(self, output):
        """Takes the next message of an output, which must be a skip; returns the reason."""
        kind, value = self._native.take(output)
        if kind != "skipped":
            raise AssertionError(f"output `{output}`: a skip expected, found {kind} {value if kind == 'rows' else ''}".rstrip())
        return value

    def set(self, key, value):
        """Changes a live key."""
        self._native.set(key, json.dumps(value))

    def end(self):
        """Ends the stream, after checking that the state survives saving and loading. Closing rows are the next message."""
        self._native.end()

    def close(self):
        """Closes the operator."""
        self._native.close()
