"""The command line of Sideline: `python -m sideline ARGUMENTS`."""

import os
import signal
import sys


def main():
    """Runs the command line and ends the process with its exit code."""
    # The native module handles the signals that stop a run; a command without a run ends as a native program does.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from . import _native
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    from . import _host

    _host.is_program = True
    # With the 5 ms of Python, an operator waits that long for the interpreter whenever another one computes in Python.
    sys.setswitchinterval(0.001)
    # What operators print does not mix with results on standard output, such as JSON.
    sys.stdout = sys.stderr
    code = _native.main(sys.argv[1:])
    sys.stderr.flush()
    # Not sys.exit: an operator that is blocked for ever, or a thread that it has started, does not hold the process.
    os._exit(code)


if __name__ == "__main__":
    main()
