"""States as plain values for MessagePack. A state is restored with the same types, or refused with the place of the value."""

import collections
import dataclasses
import enum
import functools
import sys

# Types of MessagePack extensions, as in saved states: numbers are only added.
INT, TUPLE, SET, FROZENSET, DEQUE, COUNTER, DEFAULT_DICT, ORDERED_DICT, BYTEARRAY = range(9)
ARRAY, SCALAR, DATACLASS, ENUM, NAMED_TUPLE = range(9, 14)

_FACTORIES = {
    factory.__name__: factory
    for factory in (bool, int, float, str, bytes, list, dict, set, tuple, collections.deque, collections.Counter)
}
# Kinds of arrays whose values are their bytes.
_ARRAY_KINDS = "?biufcmMSUV"
_SUPPORTED = (
    "a state holds dataclasses, dict, list, tuple, set, deque, Counter, defaultdict, NumPy arrays, Enum, named tuples, str, bytes, "
    "int, float, bool and None"
)


class StateError(Exception):
    """Error of a state; its text needs no traceback."""


class Ext:
    """Value of a type that MessagePack lacks: number of the type, and a plain value."""

    __slots__ = ("code", "content")

    def __init__(self, code, content):
        self.code = code
        self.content = content


def pack(declaration, state):
    """Converts a state to values that the native module writes as MessagePack.

    Raises `StateError` with the place of a value that would not come back the same.
    """
    if state is None:
        return None
    packer = _Packer(declaration)
    if type(state) is dict:
        return packer.entries(state, "state")
    return packer.fields(state, "state")


def restore(declaration, saved):
    """Converts what `pack` has returned, read again, to a state."""
    kind = declaration.state
    return saved if kind is dict or kind is None else _build(kind, saved)


def check(declaration):
    """Checks that the first state of a stream can be saved."""
    if declaration.state is not None:
        pack(declaration, declaration.new_state())


class _Packer:
    def __init__(self, declaration):
        self.declaration = declaration
        # Containers on the way to the current value.
        self.open = set()

    def pack(self, value, place):
        kind = type(value)
        if value is None or kind in (bool, float, bytes):
            return value
        if kind is int:
            if -(2**63) <= value < 2**64:
                return value
            return Ext(INT, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
        if kind is str:
            if not value.isascii():
                try:
                    value.encode()
                except UnicodeEncodeError:
                    raise StateError(f"{place}: a text with surrogates cannot be saved; use bytes") from None
            return value
        if isinstance(value, enum.Enum):
            # A combination of flags has no name that gives it back.
            if value.name not in kind.__members__:
                raise StateError(f"{place}: {value!r} is no member of its enum and cannot be saved; use its number")
            return Ext(ENUM, [self.name(kind, place), value.name])
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
            return self.array(value, place, numpy)
        if id(value) in self.open:
            raise StateError(f"{place}: a value that contains itself cannot be saved")
        self.open.add(id(value))
        try:
            return self.container(value, kind, place)
        finally:
            self.open.discard(id(value))

    def container(self, value, kind, place):
        if kind is list:
            return self.items(value, place)
        if kind is dict:
            return self.entries(value, place)
        if kind is tuple:
            return Ext(TUPLE, self.items(value, place))
        if kind in (set, frozenset):
            return Ext(SET if kind is set else FROZENSET, [self.pack(item, f"{place}{{{item!r}}}") for item in value])
        if kind is collections.deque:
            return Ext(DEQUE, [value.maxlen, self.items(value, place)])
        if kind is collections.Counter:
            return Ext(COUNTER, self.entries(value, place))
        if kind is collections.OrderedDict:
            return Ext(ORDERED_DICT, self.entries(value, place))
        if kind is collections.defaultdict:
            factory = value.default_factory
            name = getattr(factory, "__name__", repr(factory))
            if factory is not None and _FACTORIES.get(name) is not factory:
                raise StateError(
                    f"{place}: defaultdict({name}) cannot be saved; use one of {', '.join(_FACTORIES)}, or dict with setdefault"
                )
            return Ext(DEFAULT_DICT, [None if factory is None else name, self.entries(value, place)])
        if kind is bytearray:
            return Ext(BYTEARRAY, bytes(value))
        if dataclasses.is_dataclass(kind):
            return Ext(DATACLASS, [self.name(kind, place), self.fields(value, place)])
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return Ext(NAMED_TUPLE, [self.name(kind, place), self.items(value, place)])
        bases = (list, tuple, set, dict, collections.deque, str, int, float)
        base = next((base for base in bases if isinstance(value, base)), None)
        advice = f"use a {base.__name__}" if base else _SUPPORTED
        raise StateError(f"{place}: a value of type {kind.__qualname__} cannot be saved; {advice}")

    def items(self, values, place):
        return [self.pack(item, f"{place}[{at}]") for at, item in enumerate(values)]

    def entries(self, values, place):
        return {self.pack(key, f"{place}[{key!r}]"): self.pack(item, f"{place}[{key!r}]") for key, item in values.items()}

    def fields(self, value, place):
        names = [field.name for field in dataclasses.fields(value)]
        for name in vars(value) if hasattr(value, "__dict__") else ():
            is_cached = isinstance(getattr(type(value), name, None), functools.cached_property)
            if name not in names and not is_cached:
                owner = type(value).__qualname__
                raise StateError(f"{place}.{name}: an attribute that is no field cannot be saved; declare it in {owner}")
        for name in names:
            if not hasattr(value, name):
                raise StateError(f"{place}.{name}: a field without a value cannot be saved; give it a default")
        return {name: self.pack(getattr(value, name), f"{place}.{name}") for name in names}

    def array(self, value, place, numpy):
        dtype = value.dtype
        is_plain = type(value) is numpy.ndarray or isinstance(value, numpy.generic)
        if not is_plain or dtype.hasobject or dtype.kind not in _ARRAY_KINDS:
            what = "an array" if is_plain else f"an array of type {type(value).__qualname__}"
            raise StateError(f"{place}: {what} of {dtype} cannot be saved; use an array of numbers or a list")
        description = numpy.lib.format.dtype_to_descr(dtype)
        if numpy.lib.format.descr_to_dtype(description) != dtype:
            raise StateError(f"{place}: an array of {dtype} cannot be saved; use an array of numbers or a list")
        description = self.pack(description, place)
        if isinstance(value, numpy.generic):
            return Ext(SCALAR, [description, value.tobytes()])
        order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
        return Ext(ARRAY, [description, list(value.shape), order, value.tobytes(order)])

    def name(self, kind, place):
        """Returns the name by which a class is found again from the file of the operator."""
        if _find(self.declaration, kind.__qualname__) is not kind:
            raise StateError(
                f"{place}: a value of type {kind.__qualname__} cannot be saved: define its class at the top level of the file of the "
                "operator, or import it there by name"
            )
        return kind.__qualname__


def _find(declaration, name):
    """Returns the class of a name in the file of the operator, or in that of its state."""
    module = sys.modules.get(getattr(declaration.state, "__module__", None))
    for namespace in (declaration.namespace, vars(module) if module else {}):
        first, *rest = name.split(".")
        found = namespace.get(first)
        for part in rest:
            found = getattr(found, part, None)
        if isinstance(found, type):
            return found
    return None


def unpack(declaration, code, content):
    """Returns the value of an extension type that was read. What it contains was unpacked before."""
    plain = _UNPACK.get(code)
    if plain is not None:
        return plain(content)
    if code in (ARRAY, SCALAR):
        import numpy

        dtype = numpy.lib.format.descr_to_dtype(content[0])
        if code == SCALAR:
            return numpy.ndarray((), dtype, content[1])[()]
        return numpy.ndarray(tuple(content[1]), dtype, bytearray(content[3]), order=content[2])
    if code == DATACLASS:
        return _build(_class(declaration, content[0], dataclasses.is_dataclass), content[1])
    if code == ENUM:
        return _class(declaration, content[0], lambda kind: issubclass(kind, enum.Enum))[content[1]]
    if code == NAMED_TUPLE:
        return _class(declaration, content[0], lambda kind: issubclass(kind, tuple) and hasattr(kind, "_fields"))._make(content[1])
    raise StateError(f"a saved state has a value of the unknown type {code}: it is of a newer version")


_UNPACK = {
    INT: lambda content: int.from_bytes(content, "little", signed=True),
    TUPLE: tuple,
    SET: set,
    FROZENSET: frozenset,
    DEQUE: lambda content: collections.deque(content[1], content[0]),
    COUNTER: collections.Counter,
    DEFAULT_DICT: lambda content: collections.defaultdict(content[0] and _FACTORIES[content[0]], content[1]),
    ORDERED_DICT: collections.OrderedDict,
    BYTEARRAY: bytearray,
}


def _class(declaration, name, is_of_kind):
    found = _find(declaration, name)
    if found is None or not is_of_kind(found):
        raise StateError(f"a saved state has a value of type {name}, which the file of the operator no longer has")
    return found


def _build(kind, values):
    """Creates an instance of a dataclass with its fields as they were, without `__init__`. A new field has its default."""
    instance = kind.__new__(kind)
    for field in dataclasses.fields(kind):
        if field.name in values:
            value = values[field.name]
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            raise StateError(f"the saved state has no value for the field `{field.name}` of {kind.__qualname__}")
        object.__setattr__(instance, field.name, value)
    return instance
