"""Whatever passes the decoder must not trip defaults, validation or printing:

a client's nonsense is a 422, never a 500.
"""

import random
from datetime import UTC, datetime

import pytest

from knarr.api import codec, field_labels, scheme, tables
from knarr.api.defaulting import apply_defaults
from knarr.api.quantity import Quantity
from knarr.api.shapes import Shape, struct_fields
from knarr.api.validation import validate, validate_update

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = [
    "",
    "a",
    "web",
    "A b",
    "-",
    "10.0.0.1",
    "10.0.0.0/8",
    "50%",
    "Always",
    "RollingUpdate",
    "In",
    "NotIn",
    "Exists",
]
TEXTS += [
    "TCP",
    "LoadBalancer",
    "ClusterIP",
    "Indexed",
    "Never",
    "Limited",
    "https://x",
    "*/5 * * * *",
    "é",
    "a/b",
    "..",
]
NUMBERS = [0, 1, -1, 80, 2**31 - 1, -(2**31)]
AMOUNTS = ["0", "1", "-1", "500m", "1Gi", "1e3", "0.1n"]
TIMES = ["2026-01-01T00:00:00Z", "2026-02-31T00:00:00Z", "9999-12-31T23:59:59.999999-12:00"]
EXAMPLES_PER_KIND = 40
MAX_DEPTH = 9


def is_time(field):
    return field.endswith(("Time", "Timestamp", "At")) or field in ("time", "timeAdded")


def value(shape: Shape, rng: random.Random, depth: int, field: str = "") -> object:
    if shape.form == "any":
        return rng.choice([None, {}, {"a": [1]}, "x", 1])
    if shape.form == "struct":
        return struct(shape.type, rng, depth)
    if shape.form == "list":
        count = rng.choice([0, 1, 1, 2]) if depth < MAX_DEPTH else 0
        return [value(shape.element, rng, depth + 1) for _ in range(count)]
    if shape.form == "map":
        count = rng.choice([0, 1, 2]) if depth < MAX_DEPTH else 0
        return {rng.choice(TEXTS): value(shape.element, rng, depth + 1) for _ in range(count)}
    if shape.type is Quantity:
        return rng.choice(AMOUNTS)
    if shape.type is bool:
        return rng.choice([True, False])
    if shape.type in (int, float):
        return rng.choice(NUMBERS)
    return rng.choice(TIMES if is_time(field) else TEXTS)


def struct(cls, rng, depth):
    chance = 0.9 if depth < 3 else 0.5 if depth < MAX_DEPTH else 0.0
    fields = struct_fields(cls).items()
    return {name: value(shape, rng, depth + 1, name) for name, shape in fields if rng.random() < chance}


def an_object(resource, rng):
    """A random object; fields whose texts have a form (bytes) may not decode, those are tried again."""
    while True:
        body = struct(resource.type, rng, 0)
        body.pop("apiVersion", None), body.pop("kind", None)
        try:
            return codec.from_dict(resource.type, body)
        except codec.DecodeError:
            continue


KINDS = [r for r in scheme.all_resources() if "list" in r.verbs or r.verbs == ("create",)]


@pytest.mark.parametrize("resource", KINDS, ids=repr)
def test_nonsense_is_judged_and_not_tripped_over(resource):
    rng = random.Random(resource.kind)
    for _ in range(EXAMPLES_PER_KIND):
        obj, other = an_object(resource, rng), an_object(resource, rng)
        for each in (obj, other):
            apply_defaults(each)
            codec.encode([str(fault) for fault in validate(each)])
            if "list" in resource.verbs:
                codec.encode(tables.row(resource, each, now=NOW))
                field_labels.fields_of(resource, each)
            assert codec.decode(resource.type, codec.encode(each)) == each
        if "update" in resource.verbs:
            codec.encode([str(fault) for fault in validate_update(obj, other)])
