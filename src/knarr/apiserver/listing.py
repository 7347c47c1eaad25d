"""LIST: selection, pages, and the answer joined from bytes.

Pages are consistent: the first one's revision is written into the ``continue`` token and the rest are read
from the store at that
revision; when it has been compacted away, the answer is 410 with a token that goes on from the same key at
the newest revision.

Neighbours: ``cacher`` for what is current, ``store`` for older revisions, ``negotiation`` for the form.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec

from knarr.api import codec
from knarr.api.errors import (
    FieldError,
    StatusError,
    bad_request,
    expired,
    field_forbidden,
    invalid,
    not_supported,
    quote,
)
from knarr.api.field_labels import unsupported_problem
from knarr.api.meta import v1 as meta
from knarr.api.selectors import FieldSelector, LabelSelector, parse_fields, parse_labels
from knarr.apiserver import negotiation
from knarr.apiserver.cacher import Cache, Entry, Hub
from knarr.apiserver.fields import FieldReader
from knarr.apiserver.negotiation import PARTIAL, PARTIAL_LIST, TABLE, Output
from knarr.apiserver.request import SLICE_BYTES, Pieces, Query
from knarr.store.contract import Compacted, FutureRevision

__all__ = ["ListQuery", "check_options", "parse_list_query", "render_list", "select"]


EXACT, NOT_OLDER = "Exact", "NotOlderThan"
#: The parameter most faults of list options are about.
MATCH = "resourceVersionMatch"


@dataclass(slots=True)
class ListQuery:
    """The parameters lists and watches share."""

    labels: LabelSelector | None
    fields: FieldSelector | None
    limit: int
    continue_token: str
    resource_version: str
    match: str


#: The largest number Go's int64 holds: revisions and counts are of that type.
MAX_INT64 = 2**63 - 1
#: No number of 64 bits has more digits, leading zeros aside.
MAX_DIGITS = 400
WHOLE = re.compile("[+-]?[0-9]+")


class _Continue(msgspec.Struct):
    """What upstream also puts into its tokens: the revision and the key to go on from, relative to the
    prefix.
    """

    v: str
    rv: Annotated[int, msgspec.Meta(ge=-MAX_INT64 - 1, le=MAX_INT64)]
    start: str


@dataclass(slots=True)
class Selection:
    """What a list found."""

    entries: list[Entry]
    revision: int
    continue_token: str = ""
    remaining: int = 0


def parse_list_query(query: Query, reader: FieldReader) -> ListQuery:
    """Raises ``StatusError`` 400 for selectors that cannot be read or fields that cannot be selected by."""
    labels = fields = None
    if text := query.get("labelSelector"):
        try:
            labels = parse_labels(text)
        except ValueError as error:
            raise bad_request(f"unable to parse requirement: {error}") from None
    if text := query.get("fieldSelector"):
        try:
            fields = parse_fields(text)
        except ValueError as error:
            raise bad_request(f"unable to parse field selector: {error}") from None
        for term in fields.terms:
            if not reader.allows(term.field):
                raise bad_request(unsupported_problem(reader.resource, term.field))
    return ListQuery(
        labels=labels,
        fields=fields,
        limit=max(integer(query, "limit"), 0),
        continue_token=query.get("continue"),
        resource_version=query.get("resourceVersion"),
        match=query.get("resourceVersionMatch"),
    )


def integer(query: Query, name: str) -> int:
    """A whole number in the query, 0 if there is none. Raises ``StatusError`` 400."""
    text = query.get(name)
    if not text:
        return 0
    if not WHOLE.fullmatch(text):
        raise bad_request(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    # More digits than that Python does not even read.
    value = int(text) if len(text) <= MAX_DIGITS else MAX_INT64 + 1
    if not -MAX_INT64 - 1 <= value <= MAX_INT64:
        raise bad_request(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    return value


def revision_of(text: str) -> int:
    """A resourceVersion as a number. Raises ``StatusError`` 400."""
    if not text:
        return 0
    problem = ""
    if not (text.isascii() and text.isdecimal()):
        problem = "invalid syntax"
    elif len(text) > MAX_DIGITS or int(text) > 2 * MAX_INT64 + 1:
        problem = "value out of range"
    if problem:
        raise bad_request(f"Invalid value: {quote(text)}: strconv.ParseUint: parsing {quote(text)}: {problem}")
    return min(int(text), MAX_INT64)


async def select(cache: Cache, hub: Hub, wanted: ListQuery, namespace: str) -> Selection:
    """The entries a list asks for. Raises ``StatusError`` 410, 400, 504."""
    prefix = cache.within(namespace)
    if wanted.continue_token:
        if wanted.resource_version not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        token = _read_token(wanted.continue_token)
        return await _from_store(
            cache, hub, wanted, prefix, start=prefix + token.start, revision=max(token.rv, 0)
        )
    revision = revision_of(wanted.resource_version)
    if wanted.match == EXACT:
        return await _from_store(cache, hub, wanted, prefix, start="", revision=revision)
    if not wanted.resource_version:
        await hub.fresh()
    elif revision:
        await hub.wait_for(revision)
    # What is found here is of one revision, however long it then takes to convert it.
    found, revision = _candidates(cache, wanted, prefix), hub.revision
    if cache.converter is not None:
        await cache.converter.settle(found)
    return _chosen(found, revision, wanted, prefix)


def check_options(wanted: ListQuery, query: Query, *, watch: bool) -> None:
    """Refuse options that contradict each other. Raises ``StatusError`` 422 for ListOptions, as upstream."""
    faults = _watch_faults(wanted, query) if watch else _list_faults(wanted, query)
    if faults:
        raise invalid("meta.k8s.io", "ListOptions", "", faults)


def _list_faults(wanted: ListQuery, query: Query) -> list[FieldError]:
    faults: list[FieldError] = []
    if wanted.match:
        if not wanted.resource_version:
            faults.append(
                field_forbidden(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided")
            )
        if wanted.continue_token:
            faults.append(
                field_forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided")
            )
        if wanted.match not in (EXACT, NOT_OLDER):
            faults.append(not_supported(MATCH, wanted.match, (EXACT, NOT_OLDER, "")))
        if wanted.match == EXACT and wanted.resource_version == "0":
            faults.append(
                field_forbidden(MATCH, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
            )
    if "sendInitialEvents" in query:
        faults.append(field_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return faults


def _watch_faults(wanted: ListQuery, query: Query) -> list[FieldError]:
    faults: list[FieldError] = []
    initial = "sendInitialEvents" in query
    if initial and wanted.match != NOT_OLDER:
        faults.append(
            field_forbidden(MATCH, f"sendInitialEvents requires setting resourceVersionMatch to {NOT_OLDER}")
        )
    if initial and wanted.continue_token:
        faults.append(field_forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"))
    if wanted.match:
        if not initial:
            detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            faults.append(field_forbidden(MATCH, detail))
        if wanted.match != NOT_OLDER:
            faults.append(not_supported(MATCH, wanted.match, (NOT_OLDER,)))
    return faults


def _candidates(cache: Cache, wanted: ListQuery, prefix: str) -> list[Entry]:
    """What may be meant, by key alone."""
    by_name = wanted.fields.required_value("metadata.name") if wanted.fields else None
    if by_name and (prefix != cache.prefix or not cache.resource.namespaced):
        found = cache.get(prefix + by_name)
        return [found] if found else []
    entries = cache.scan(prefix)
    return [entry for entry in entries if entry.name == by_name] if by_name else entries


def _chosen(entries: list[Entry], revision: int, wanted: ListQuery, prefix: str) -> Selection:
    """The first page of those that are selected."""
    exact = wanted.labels.exact if wanted.labels is not None else ()
    if exact:
        # The usual selector asks for values; one pass for one of them leaves little for the full question.
        label, value = exact[0]
        entries = [entry for entry in entries if entry.labels.get(label) == value]
    if wanted.labels is not None or wanted.fields is not None:
        entries = [entry for entry in entries if matches(entry, wanted)]
    chosen = entries
    if wanted.limit and len(chosen) > wanted.limit:
        remaining = len(chosen) - wanted.limit
        chosen = chosen[: wanted.limit]
        token = _token(revision, chosen[-1].key[len(prefix) :] + "\0")
        selected = wanted.labels is not None or wanted.fields is not None
        return Selection(chosen, revision, token, 0 if selected else remaining)
    return Selection(chosen, revision)


async def _from_store(
    cache: Cache, hub: Hub, wanted: ListQuery, prefix: str, *, start: str, revision: int
) -> Selection:
    """Entries at an exact revision, page by page from the store until enough match."""
    chosen: list[Entry] = []
    position = start
    while True:
        try:
            page = await hub.store.range(prefix, start=position, limit=wanted.limit, revision=revision)
        except Compacted:
            raise _expired(wanted, prefix, start, hub.revision) from None
        except FutureRevision as error:
            raise StatusError(
                meta.Status(
                    status="Failure",
                    code=504,
                    reason="Timeout",
                    message=f"Too large resource version: {error.asked}, current: {error.current}",
                )
            ) from None
        revision = page.revision
        entries = [cache.entry(item) for item in page.items]
        if cache.converter is not None:
            await cache.converter.settle(entries)
        chosen.extend(entry for entry in entries if matches(entry, wanted))
        if not page.remaining or not wanted.limit:
            return Selection(chosen, revision)
        position = page.items[-1].key + "\0"
        if len(chosen) >= wanted.limit:
            extra = len(chosen) - wanted.limit
            chosen = chosen[: wanted.limit]
            token = _token(revision, chosen[-1].key[len(prefix) :] + "\0")
            selected = wanted.labels is not None or wanted.fields is not None
            return Selection(chosen, revision, token, 0 if selected else page.remaining + extra)


def _expired(wanted: ListQuery, prefix: str, start: str, revision: int) -> StatusError:
    if not wanted.continue_token:
        return expired("The resourceVersion for the provided list is too old.")
    error = expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
        "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
        "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted "
        "between the time the first chunk was returned and now may show up in the list."
    )
    error.status.metadata = meta.ListMeta(continue_=_token(-1, start[len(prefix) :]))
    return error


def matches(entry: Entry, wanted: ListQuery) -> bool:
    """Whether the selectors of a list take it in."""
    if wanted.labels is not None and not wanted.labels.matches(entry.labels):
        return False
    return wanted.fields is None or wanted.fields.matches(entry.fields)


def _token(revision: int, start: str) -> str:
    encoded = msgspec.json.encode(_Continue(v="meta.k8s.io/v1", rv=revision, start=start))
    return base64.urlsafe_b64encode(encoded).rstrip(b"=").decode()


def _read_token(text: str) -> _Continue:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        token = msgspec.json.decode(data, type=_Continue)
    except (ValueError, msgspec.DecodeError) as error:
        raise bad_request(f"continue key is not valid: {error}") from None
    if token.v != "meta.k8s.io/v1" or ".." in token.start.split("/"):
        raise bad_request(
            "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"
        )
    return token


def render_list(
    cache: Cache, selection: Selection, output: Output, *, now: datetime, include: str = ""
) -> bytes | Pieces:
    """The answer's bytes in the chosen form."""
    metadata = negotiation.list_meta(
        selection.revision, continue_token=selection.continue_token, remaining=selection.remaining
    )
    entries = selection.entries
    if output.form == TABLE:
        bodies = [cache.head + entry.body for entry in entries]
        objects: list[Any] = [codec.decode(cache.resource.type, body) for body in bodies]
        return negotiation.render_table(
            cache.resource, objects, bodies, now=now, include=include, metadata=metadata
        )
    if output.form in (PARTIAL, PARTIAL_LIST):
        head = (
            b'{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":%s,"items":['
            % metadata
        )
        return (
            head + b",".join(negotiation.partial_object(cache.head + entry.body) for entry in entries) + b"]}"
        )
    head = b'{"kind":"%sList","apiVersion":"%s","metadata":%s,"items":[' % (
        cache.resource.kind.encode(),
        cache.resource.api_version.encode(),
        metadata,
    )
    if not entries:
        return negotiation.to_wire(head + b"]}", output)
    pieces = Pieces(head + b"{", [entry.body for entry in entries], separator=b",{", tail=b"]}")
    if output.yaml or pieces.size < SLICE_BYTES:
        return negotiation.to_wire(pieces.whole(), output)
    return pieces
