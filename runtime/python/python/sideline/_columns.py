"""Tables that an operator declares, and the types of their columns."""

import enum
import types
import typing
from dataclasses import dataclass

u8, u16, u32, u64 = "u8", "u16", "u32", "u64"
i64, f32, f64 = "i64", "f32", "f64"

_SCALARS = {bool: "bool", int: "i64", float: "f64", str: "text"}
_NAMES = {"bool", "text", u8, u16, u32, u64, i64, f32, f64}


@dataclass(frozen=True)
class Column:
    """Column of a table with its documentation."""

    type: object
    about: str


@dataclass(frozen=True)
class Table:
    """Table with its columns; without columns a table that Sideline or another operator of the flow declares."""

    name: str
    about: str = ""
    columns: tuple = ()

    def describe(self):
        """Returns the description for the native module."""
        if not self.columns:
            return self.name
        columns = []
        for name, kind in self.columns:
            kind, about = (kind.type, kind.about) if isinstance(kind, Column) else (kind, "")
            columns.append({"name": name, "type": _describe_type(kind, f"table `{self.name}`, column `{name}`"), "about": about})
        return {"name": self.name, "about": self.about, "columns": columns}


def table(name, about="", /, **columns):
    """Declares a table: `table("punch_counts", "Punches of each fighter.", fighter=str, n=int)`.

    A column is `bool`, `int` (64 bits), `float` (64 bits), `str`, one of `u8`, `u16`, `u32`, `u64`, `i64`, `f32`, `f64`,
    `Literal["a", "b"]` or an `Enum` of texts, `list[T]`, `array(T, n)`, `struct(...)`, `T | None` for a column with nulls (`optional(T)` for the types that are no classes),
    or `column(T, "documentation, unit")`. Without columns it is the table of that
    name that Sideline or another operator of the flow declares.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a table is a text, not {name!r}")
    return Table(name, about, tuple(columns.items()))


def column(type, about):
    """Declares a column with its documentation, which begins with the meaning and ends with the unit."""
    return Column(type, about)


def array(type, *lengths):
    """Returns the type of a column with lists of a fixed length: `array(f32, 2)`, `array(f32, 33, 3)`."""
    if not lengths or not all(isinstance(length, int) and length > 0 for length in lengths):
        raise TypeError("array(T, n, ...) takes one or more lengths from 1")
    for length in reversed(lengths):
        type = ("array", length, type)
    return type


def struct(**fields):
    """Returns the type of a column with named fields: `struct(x=f32, y=f32)`."""
    return ("struct", fields)


def _describe_type(kind, place):
    if kind in _NAMES if isinstance(kind, str) else False:
        return kind
    if kind in _SCALARS if isinstance(kind, type) else False:
        return _SCALARS[kind]
    if isinstance(kind, tuple) and kind[0] == "array":
        return {"array": [kind[1], _describe_type(kind[2], place)]}
    if isinstance(kind, tuple) and kind[0] == "struct":
        return {"struct": [[name, _describe_type(field, place)] for name, field in kind[1].items()]}
    if typing.get_origin(kind) is list and len(typing.get_args(kind)) == 1:
        return {"list": _describe_type(typing.get_args(kind)[0], place)}
    from ._operator import Port

    if isinstance(kind, Port) and not (kind.required or kind.hold or kind.feedback):
        return {"optional": _describe_type(kind.type, place)}
    inner = [argument for argument in typing.get_args(kind) if argument is not type(None)]
    if typing.get_origin(kind) in (typing.Union, types.UnionType) and len(inner) == 1 and len(typing.get_args(kind)) == 2:
        return {"optional": _describe_type(inner[0], place)}
    if typing.get_origin(kind) is typing.Literal:
        words = list(typing.get_args(kind))
    else:
        words = [member.value for member in kind] if isinstance(kind, type) and issubclass(kind, enum.Enum) else []
    if words and all(isinstance(word, str) for word in words):
        return {"choice": words}
    raise TypeError(
        f"{place}: {kind!r} is no type of a column; it is bool, int, float, str, {', '.join(sorted(_NAMES - {'bool', 'text'}))}, "
        "Literal of texts, an Enum of texts, list[T], array(T, n), struct(...) or T | None"
    )
