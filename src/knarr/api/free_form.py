"""An object whose kind keeps what its schema does not name: ``x-kubernetes-preserve-unknown-fields`` at a schema's root.

A struct has its fields and no others. So the object is a struct of what the schema names, checked and pruned as any, with the
remaining members as they came. For whoever handles it, it is an object like others: attributes for what is named, None for what
is not there.

Neighbours: ``apiextensions.structs`` makes one class a kind; ``codec`` reads and writes them, ``shapes`` tells walkers that every
further member may be there.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

__all__ = ["FreeForm"]


class FreeForm:
    """One object; a kind's class sets ``KNOWN``, and ``__struct_fields__`` to its fields and ``_rest``."""

    __slots__ = ("_known", "_rest")

    KNOWN: ClassVar[type[msgspec.Struct]]
    __struct_fields__: ClassVar[tuple[str, ...]]

    _known: Any
    _rest: dict[str, Any]

    def __init__(self, known: Any, rest: dict[str, Any]) -> None:
        object.__setattr__(self, "_known", known)
        object.__setattr__(self, "_rest", rest)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self.KNOWN.__struct_fields__:
            return getattr(self._known, name)
        return self._rest.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FreeForm.__slots__:
            object.__setattr__(self, name, value)
        elif name in self.KNOWN.__struct_fields__:
            setattr(self._known, name, value)
        elif value is None:
            self._rest.pop(name, None)
        else:
            self._rest[name] = value

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, FreeForm)
        return bool(self._known == other._known and self._rest == other._rest)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._known!r}, {self._rest!r})"
