"""Functions that the native module calls: loading of operators, descriptions of errors."""

import copy
import gc
import importlib
import importlib.util
import json
import linecache
import os
import sys
import threading
import traceback
from pathlib import Path

from . import _native
from ._operator import _Declaration
from ._state import StateError

_PACKAGE = os.path.dirname(os.path.abspath(__file__))


# True in the program `sideline`, false where a run is started from code.
is_program = False


class LoadError(Exception):
    """Error of a target; its text needs no traceback."""


def load(target, folder):
    """Returns the declaration of the operator that a target names, and its description as JSON."""
    module, name = _load_module(target, folder)
    declared = {
        value.__sideline__.name: value.__sideline__
        for value in vars(module).values()
        if isinstance(getattr(value, "__sideline__", None), _Declaration) and value.__sideline__.module == module.__name__
    }
    found = ", ".join(f"`{other}`" for other in declared)
    if not declared:
        raise LoadError("it declares no operator: decorate a class or function with @sideline.operator(...)")
    if name is None:
        if len(declared) > 1:
            raise LoadError(f"it declares several operators, {found}: write `{target}:NAME`")
        (declaration,) = declared.values()
    elif name in declared:
        declaration = declared[name]
    else:
        raise LoadError(f"it declares no operator `{name}`; there are {found}")
    try:
        description = json.dumps(declaration.description)
    except TypeError as error:
        raise LoadError(f"operator `{declaration.name}`: a default is no plain value: {error}") from None
    return declaration, description


def _load_module(target, folder):
    module, _, name = target.partition(":")
    folder = os.path.abspath(folder or ".")
    if not module.endswith(".py"):
        # A package beside the flow is found as well as an installed one. It comes last, so that no file of the folder hides a
        # module of the standard library, such as `random.py`.
        if folder not in sys.path:
            sys.path.append(folder)
        return importlib.import_module(module), name or None
    path = Path(folder, module)
    if not path.is_file():
        raise LoadError(f"{path}: no such file; the path is relative to the file of the flow")
    # A name of its own for each file: two flows may have files of one name.
    module_name = f"{path.stem}_{abs(hash(str(path.resolve()))):x}"
    if module_name in sys.modules:
        return sys.modules[module_name], name or None
    beside = str(path.parent)
    if beside not in sys.path:
        sys.path.append(beside)
    spec = importlib.util.spec_from_file_location(module_name, path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = loaded
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[module_name]
        raise
    return loaded, name or None


def source(declaration):
    """Returns the path of the file that declares an operator."""
    return sys.modules[declaration.module].__file__


def reload(declaration):
    """Executes the file of an operator again; returns the new declaration and its description as JSON.

    Ports and keys must be the same: the flow was planned with them.
    """
    module = sys.modules[declaration.module]
    spec = importlib.util.spec_from_file_location(declaration.module, module.__file__)
    fresh = importlib.util.module_from_spec(spec)
    # Not the cached code: a file may change twice in a second.
    code = compile(Path(module.__file__).read_bytes(), module.__file__, "exec")
    linecache.checkcache(module.__file__)
    exec(code, vars(fresh))
    for value in vars(fresh).values():
        changed = getattr(value, "__sideline__", None)
        if isinstance(changed, _Declaration) and changed.name == declaration.name:
            break
    else:
        raise LoadError(f"it declares no operator `{declaration.name}` any more")
    for part in ("inputs", "outputs", "keys"):
        if changed.description[part] != declaration.description[part]:
            raise LoadError(f"its {part} have changed: start the flow again")
    sys.modules[declaration.module] = fresh
    return changed, json.dumps(changed.description)


def describe(error):
    """Describes an exception in one line: the last places of its traceback outside this package, and its text."""
    if isinstance(error, (LoadError, StateError)):
        return str(error)
    if isinstance(error, _native.Error):
        text = str(error)
    else:
        text = " ".join("".join(traceback.format_exception_only(error)).split())
    if isinstance(error, SyntaxError):
        name = os.path.basename(error.filename or "")
        return f"{name}:{error.lineno}: {type(error).__name__}: {error.msg}"
    lines = [f"{os.path.basename(f.filename)}:{f.lineno} in {f.name}: `{(f.line or '').strip()}`" for f in _places(error)[-3:]]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and _places(cause):
        place = _places(cause)[-1]
        reason = " ".join("".join(traceback.format_exception_only(cause)).split())
        text += f" (after {os.path.basename(place.filename)}:{place.lineno} in {place.name}: {reason})"
    return "; ".join([*lines, text])


def _places(error):
    """Returns the places of a traceback outside this package."""
    return [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not os.path.abspath(frame.filename).startswith(_PACKAGE) and not frame.filename.startswith("<frozen")
    ]


def collect():
    """Frees cycles of objects, so that only what is in use keeps a view."""
    gc.collect()


def settle():
    """Excludes the objects created at the start from later garbage collections, which then take only the time for newer objects.

    Only in the program `sideline`: in an interpreter that other code uses, its objects must stay collectable.
    """
    if is_program:
        gc.collect()
        gc.freeze()


def copy_state(state):
    """Copies a state."""
    return copy.deepcopy(state)


_node_threads = threading.local()
_fork = os.fork


def _refuse_fork():
    if getattr(_node_threads, "is_node", False):
        raise RuntimeError(
            "an operator cannot fork: the child would lack the threads of the flow; start a program with `subprocess`, or use "
            "multiprocessing.get_context(\"spawn\")"
        )
    return _fork()


def enter_node():
    """Marks the current thread as one that runs an operator."""
    os.fork = _refuse_fork
    _node_threads.is_node = True


def threads():
    """Returns the threads that Python code has started and that still run."""
    dummy = threading._DummyThread
    return {t for t in threading.enumerate() if not isinstance(t, dummy) and t is not threading.main_thread()}


def threads_left(before):
    """Returns the names of threads that were started after `before` was taken and still run."""
    return sorted(thread.name for thread in threads() - before)


def format_traceback(error):
    """Returns the whole traceback of an exception."""
    return "".join(traceback.format_exception(error))
