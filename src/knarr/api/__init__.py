"""The Kubernetes API as data: types, and everything about them that needs no server.

``from knarr.api.core import v1 as core`` gives ``core.Pod`` and its siblings: one folder an API group, one
module a version, attributes named as on the wire. A field typed ``X | None`` is a pointer upstream, a plain
``int``, ``bool`` or ``str`` is left out when zero; both as Go has it. Around the types:

* ``codec``: ``encode(obj)``, ``decode(cls, data)``, ``to_dict``, ``from_dict``, ``copy(obj)``,
  ``unknown_fields(cls, data)``, ``strict_errors(cls, data)``; raises ``DecodeError``.
* ``scheme``: ``Resource``; ``by_type``, ``by_kind``, ``by_resource``, ``all_resources``, ``group_versions``,
  ``type_of``.
* ``fields``: base class and field types of the structs; ``shapes``: the same for walking plain data.
* ``quantity``: ``Quantity``, ``canonical``, ``value``, ``millis``, ``nanos``, ``add``, ``subtract``,
  ``compare``, ``from_value``, ``from_millis``.

This package stands on ``kit`` and ``msgspec`` alone. Importing it imports no types.
"""
