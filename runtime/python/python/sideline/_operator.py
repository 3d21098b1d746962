"""Declaration of operators: ports, keys, state, and the methods that the runtime calls."""

import ast
import dataclasses
import enum
import inspect
import sys
import textwrap
import types
import typing

from ._columns import Table


class _Frames:
    def __repr__(self):
        return "sideline.frames"


frames = _Frames()
"""Type of a port of video frames."""


@dataclasses.dataclass(frozen=True)
class Port:
    """Input that is not simply required."""

    type: object
    required: bool = True
    hold: bool = False
    feedback: bool = False


def optional(type):
    """Declares an input that may be unwired or skipped; it is `None` then."""
    return dataclasses.replace(_port(type), required=False)


def hold(type):
    """Declares an optional input that has its last data again for a frame without data."""
    return dataclasses.replace(_port(type), required=False, hold=True)


def feedback(type):
    """Declares an input that may close a cycle. It is a list of what has come since the last call."""
    return dataclasses.replace(_port(type), required=False, feedback=True)


def _port(type):
    return type if isinstance(type, Port) else Port(type)


class skip:
    """Result of `process` for a frame that is not processed, for a reason of one word."""

    __slots__ = ("reason",)

    def __init__(self, reason):
        if not isinstance(reason, str) or not reason.isidentifier():
            raise TypeError(f"skip(reason) takes one word, as in skip(\"blurred\"), not {reason!r}")
        self.reason = reason


class _Required:
    def __repr__(self):
        return "required"


REQUIRED = _Required()


@dataclasses.dataclass(frozen=True)
class Key:
    """Key of an operator's configuration."""

    default: object = REQUIRED
    about: str = ""
    range: tuple | None = None
    live: bool = False


def key(default=REQUIRED, about="", *, range=None, live=False):
    """Declares a key of the configuration; one without a default must be set in the flow.

    `range` is the minimum and maximum of a number. A `live` key may change while the flow runs: the attribute is set, and
    `reconfigure(self)` is called if the operator has it.
    """
    return Key(default, about, range, live)


def operator(*, reads=None, writes=None, state=None, state_version=1, heavy=True):
    """Makes an operator of a class or of a function.

    `reads` maps inputs to `sideline.frames`, the name of a table, or a table; `optional`, `hold` and `feedback` declare inputs
    that are not required. `writes` maps outputs to `sideline.frames` or a table. `state` is a dataclass or `dict`, of which the
    runtime keeps one for each stream; it is copied, and saved as MessagePack.

    Annotated attributes of the class (parameters of the function after `*`) are the keys of the configuration. The methods are
    `process`, and if wanted `session_started`, `stream_ended`, `reconfigure` and `close`; each names the parameters that it
    needs: `cx` (the context), `state`, and inputs.
    """
    if inspect.isclass(reads) or inspect.isfunction(reads):
        raise TypeError("write `@sideline.operator(reads=..., writes=...)`, with parentheses and names")

    def decorate(target):
        namespace = sys._getframe(1).f_globals
        if inspect.isfunction(target):
            target = _class_of(target)
        if not inspect.isclass(target):
            raise TypeError(f"@sideline.operator decorates a class or a function, not {target!r}")
        target.__sideline__ = _Declaration(target, reads or {}, writes or {}, state, state_version, heavy, namespace)
        return target

    return decorate


def _class_of(function):
    """Returns a class whose `process` calls the function; its keyword-only parameters are keys."""
    parameters = list(inspect.signature(function).parameters.values())
    keys = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    names = [parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    annotations = {parameter.name: parameter.annotation for parameter in keys}

    if keys:
        def process(self, *inputs):
            return function(*inputs, **{parameter.name: getattr(self, parameter.name) for parameter in keys})
    else:
        def process(self, *inputs):
            return function(*inputs)

    process.__sideline_parameters__ = names
    members = {
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__annotations__": annotations,
        "process": process,
        "__wrapped__": function,
    }
    members |= {p.name: REQUIRED if p.default is p.empty else p.default for p in keys}
    return type(function.__name__, (), members)


class _Declaration:
    def __init__(self, owner, reads, writes, state, state_version, heavy, namespace):
        self.owner = owner
        # Names of the file, by which classes of a saved state are found.
        self.namespace = namespace
        self.module = owner.__module__
        self.name = owner.__qualname__
        self.state = state
        self.types = {}
        self.description = self._describe(reads, writes, state_version, heavy)

    def _describe(self, reads, writes, state_version, heavy):
        owner = self.owner
        for side, ports in (("reads", reads), ("writes", writes)):
            if not isinstance(ports, dict) or not all(isinstance(name, str) and name.isidentifier() for name in ports):
                raise TypeError(f"operator `{self.name}`: `{side}` maps names of ports to types, as in {{\"frames\": sideline.frames}}")
        inputs = []
        for name, port in reads.items():
            port = _port(port)
            inputs.append({"name": name, "type": self._type(name, port.type), "required": port.required, "hold": port.hold,
                           "feedback": port.feedback})
        outputs = [{"name": name, "type": self._type(name, port)} for name, port in writes.items()]
        if self.state is not None and self.state is not dict and not (
            inspect.isclass(self.state) and dataclasses.is_dataclass(self.state)
        ):
            raise TypeError(f"operator `{self.name}`: `state` is a dataclass or dict, not {self.state!r}")
        if not callable(getattr(owner, "process", None)):
            raise TypeError(f"operator `{self.name}` has no method `process`")
        known = ["cx", *(["state"] if self.state is not None else []), *reads]
        methods = {}
        for method, names in (
            ("process", known),
            ("stream_ended", known),
            ("session_started", [name for name in known if name in ("cx", "state")]),
            ("reconfigure", []),
            ("close", []),
        ):
            function = getattr(owner, method, None)
            if function is not None:
                methods[method] = self._parameters(method, function, names)
        return {
            "name": owner.__name__,
            "about": (inspect.getdoc(owner) or "").split("\n\n")[0].replace("\n", " "),
            "heavy": bool(heavy),
            "inputs": inputs,
            "outputs": outputs,
            "keys": self._keys(),
            "has_state": self.state is not None,
            "state_version": state_version,
            "methods": methods,
        }

    def _type(self, port, type):
        if type is frames:
            return "frame"
        if isinstance(type, str):
            return {"table": type}
        if isinstance(type, Table):
            return {"table": type.describe()}
        raise TypeError(
            f"operator `{self.name}`, port `{port}`: {type!r} is no type of a port; write sideline.frames, the name of a table, or "
            "sideline.table(...)"
        )

    def _parameters(self, method, function, known):
        names = getattr(function, "__sideline_parameters__", None)
        if names is None:
            parameters = list(inspect.signature(function).parameters.values())[1:]
            if any(parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in parameters):
                raise TypeError(f"operator `{self.name}`: `{method}` names its parameters, without * and **")
            names = [parameter.name for parameter in parameters]
        for name in names:
            if name not in known:
                hint = f"it may name {', '.join(known)}" if known else "it has none"
                if name == "state":
                    hint = "declare `state=...` in @sideline.operator"
                raise TypeError(f"operator `{self.name}`: `{method}` has an unknown parameter `{name}`; {hint}")
        return names

    def _keys(self):
        owner = self.owner
        annotations = typing.get_type_hints(owner)
        docs = _attribute_docs(owner)
        keys = []
        for name in _key_names(owner):
            if name.startswith("_") or typing.get_origin(annotations[name]) is typing.ClassVar:
                continue
            declared = getattr(owner, name, REQUIRED)
            declared = declared if isinstance(declared, Key) else Key(declared)
            kind, convert = _kind(annotations[name], f"operator `{self.name}`, key `{name}`")
            self.types[name] = convert
            described = {"name": name, "about": declared.about or docs.get(name, ""), "kind": kind, "live": declared.live}
            if declared.range is not None:
                low, high = declared.range
                described["range"] = [float(low), float(high)]
            if declared.default is not REQUIRED:
                default = declared.default
                described["default"] = {"value": default.value if isinstance(default, enum.Enum) else default}
            keys.append(described)
        return keys

    def make(self, values):
        """Creates an instance with the values of its keys."""
        if dataclasses.is_dataclass(self.owner):
            return self.owner(**{name: self.types[name](value) for name, value in values.items()})
        # The keys are set before `__init__`, which can use them.
        instance = self.owner.__new__(self.owner)
        self.set(instance, values)
        instance.__init__()
        return instance

    def set(self, instance, values):
        """Sets the keys of an instance."""
        for name, value in values.items():
            setattr(instance, name, self.types[name](value))

    def new_state(self):
        """Returns the state of a new stream."""
        return self.state()


def _key_names(owner):
    """Returns the annotated attributes of a class, and those of its bases that are operators or that are declared by `key`."""
    names = {}
    for base in reversed(owner.__mro__):
        for name in inspect.get_annotations(base):
            if base is owner or "__sideline__" in vars(base) or isinstance(vars(base).get(name), Key):
                names[name] = None
    return names


def _kind(annotation, place):
    """Returns the kind of a key for the native module, and the conversion of a value that was read."""
    scalars = {bool: "bool", int: "integer", float: "number", str: "text"}
    if annotation in scalars:
        return scalars[annotation], annotation
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal and all(isinstance(word, str) for word in arguments):
        return {"choice": list(arguments)}, str
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        words = [member.value for member in annotation]
        if all(isinstance(word, str) for word in words):
            return {"choice": words}, annotation
    if origin is list and len(arguments) == 1:
        kind, convert = _kind(arguments[0], place)
        return {"list": kind}, lambda items: [convert(item) for item in items]
    if origin in (typing.Union, types.UnionType) and len(arguments) == 2 and type(None) in arguments:
        kind, convert = _kind(next(a for a in arguments if a is not type(None)), place)
        return {"optional": kind}, lambda value: None if value is None else convert(value)
    raise TypeError(
        f"{place}: {annotation!r} is no type of a key; it is bool, int, float, str, Literal of texts, an Enum of texts, list[T] or "
        "T | None"
    )


def _attribute_docs(owner):
    """Returns the texts below the attributes of a class, their documentation."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body
    except (OSError, TypeError, SyntaxError, IndexError, AttributeError):
        return {}
    docs = {}
    for attribute, below in zip(body, body[1:]):
        is_attribute = isinstance(attribute, ast.AnnAssign) and isinstance(attribute.target, ast.Name)
        if is_attribute and isinstance(below, ast.Expr) and isinstance(getattr(below.value, "value", None), str):
            docs[attribute.target.id] = inspect.cleandoc(below.value.value)
    return docs
