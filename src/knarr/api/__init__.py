"""The Kubernetes API as data: types, and everything about them that needs no server.

``from knarr.api.core import v1 as core`` gives ``core.Pod`` and its siblings: one folder an API group, one
module a version, attributes named as on the wire. A field typed ``X | None`` is a pointer upstream, a plain
``int``, ``bool`` or ``str`` is left out when zero; both as Go has it. Around the types:

* ``codec``: ``encode``, ``decode``, ``to_dict``, ``from_dict``, ``copy``; ``strict``: ``unknown_fields``,
  ``strict_errors``.
* ``scheme``: ``Resource``; ``by_type``, ``by_kind``, ``by_resource``, ``all_resources``, ``type_of``.
* ``defaulting.apply_defaults(obj)``; ``validation.validate(obj)``, ``validation.validate_update(new, old)``.
* ``errors``: ``StatusError`` and its makers, ``FieldError`` and its makers.
* ``patch``: ``json_patch``, ``merge_patch``, ``strategic_merge``; ``facts``: merge keys, list types.
* ``selectors``: ``parse_labels``, ``parse_fields``, ``from_label_selector``; ``field_labels``: what fields a
  kind has.
* ``tables``: ``table``, ``row``, ``cells``, ``columns_of``; ``printing`` behind it.
* ``quantity``, ``intstr``, ``names``, ``conditions``, ``owners``, ``batch.cron``: the small parts.
* ``fields``: base class and field types of the structs; ``shapes``: the same for walking plain data.

This package stands on ``kit``, ``msgspec`` and ``cryptography``. Importing it imports no types.
"""
