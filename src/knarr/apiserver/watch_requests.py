"""The verb ``watch``: from a request to an answer whose body lives until the watch ends.

What a watch begins with (the objects there are, or the changes since a revision) and what it then follows must meet without a
gap: between reading the one and filing for the other nothing is awaited.

Upstream's counterpart is ``endpoints/handlers/watch.go`` and the beginning of ``cacher.Watch``.

Neighbours: ``endpoints`` comes here; ``watching`` carries the changes; ``negotiation`` gives each object its form.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from knarr.api import codec
from knarr.api.errors import StatusError
from knarr.apiserver import negotiation, watching
from knarr.apiserver.cacher import Entry
from knarr.apiserver.converted_watching import unsettled
from knarr.apiserver.environment import Environment
from knarr.apiserver.listing import check_options, integer, parse_list_query, revision_of
from knarr.apiserver.negotiation import JSON, Output
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.request import Request, Response

__all__ = ["WatchRequests"]

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
#: A watch is asked to last no longer than a day.
MAX_WATCH_S = 86_400
WATCH_HEADERS = {"Cache-Control": "no-cache, private"}


class WatchRequests:
    """Opens watches of one resource."""

    def __init__(self, registry: GenericRegistry, environment: Environment) -> None:
        self.registry = registry
        self.resource = registry.resource
        self._env = environment

    async def open(self, request: Request) -> Response:
        """The answer's body lives until the watch ends; the watcher is filed before the first byte is sent."""
        output = negotiation.choose(request.headers.get("accept", "").replace(";stream=watch", ""))
        wanted = parse_list_query(request.query, self.registry.cache.reader)
        check_options(wanted, request.query, watch=True)
        timeout_s = float(min(max(integer(request.query, "timeoutSeconds"), 0), MAX_WATCH_S))
        cache, hub = self.registry.cache, self._env.hub
        watcher = watching.Watcher(
            namespace=request.info.namespace if self.resource.namespaced else "",
            name=request.info.name
            or (wanted.fields.required_value("metadata.name") if wanted.fields is not None else None)
            or "",
            labels=wanted.labels,
            fields=wanted.fields,
            render=self._renderer(output, request.query.get("includeObject")),
        )
        initial_flag = request.query.get("sendInitialEvents")
        revision = revision_of(wanted.resource_version)
        if revision > hub.revision:
            await hub.wait_for(revision)
        if not revision:
            await hub.fresh()
        wants_initial = initial_flag == "true" or (not revision and initial_flag != "false")
        if cache.converter is not None:
            while waiting := self._unsettled(watcher.namespace, None if wants_initial else revision):
                await cache.converter.settle(waiting)
        # From here to ``add`` nothing may await: a change in between would be lost or told twice.
        if wants_initial:
            for entry in cache.scan(cache.within(watcher.namespace)):
                if watcher.matches(entry):
                    watcher.frames.append(self._frame("ADDED", entry, watcher.render))
            if initial_flag == "true":
                watcher.frames.append(self._bookmark(hub.revision, output, end_of_initial=True))
        else:
            changes = cache.since(revision) if revision else []
            self.registry.dispatcher.replay(watcher, changes)
        self.registry.dispatcher.add(watcher)
        body = watching.stream(
            watcher,
            self.registry.dispatcher,
            hub=hub,
            clock=self._env.clock,
            chance=self._env.chance,
            timeout_s=timeout_s,
            bookmark=(lambda revision: self._bookmark(revision, output))
            if request.query.flag("allowWatchBookmarks")
            else None,
            stopping=self._env.stopping,
        )
        return Response(body=_guarded(body), content_type=output.content_type, headers=dict(WATCH_HEADERS))

    def _unsettled(self, namespace: str, revision: int | None) -> Sequence[Entry]:
        """What a watch begins with and waits for conversion: the objects there are, or the changes since a revision."""
        cache = self.registry.cache
        if revision is None:
            return [entry for entry in cache.scan(cache.within(namespace)) if entry.stored]
        return unsettled(cache.since(revision)) if revision else []

    def _frame(self, kind: str, entry: Entry, render: watching.Renderer | None) -> bytes:
        return watching.frame(kind, render(entry) if render else self.registry.cache.head + entry.body)

    def _bookmark(self, revision: int, output: Output, *, end_of_initial: bool = False) -> bytes:
        """A bookmark is of the kind the watch's other objects are of: clients decode it like them."""
        annotations = b',"annotations":{"%s":"true"}' % INITIAL_EVENTS_END.encode() if end_of_initial else b""
        obj = self.registry.cache.head + b'"metadata":{"resourceVersion":"%d"%s}}' % (revision, annotations)
        if output.form in (negotiation.PARTIAL, negotiation.PARTIAL_LIST):
            obj = negotiation.partial_object(obj)
        elif output.form == negotiation.TABLE:
            metadata = negotiation.list_meta(revision)
            now = self._env.clock.now()
            obj = negotiation.render_table(
                self.resource, [], [], now=now, metadata=metadata, with_columns=False
            )
        return watching.frame("BOOKMARK", obj)

    def _renderer(self, output: Output, include: str) -> watching.Renderer | None:
        if output.form == JSON:
            return None
        cache = self.registry.cache
        told = False

        def render(entry: Entry) -> bytes:
            nonlocal told
            first, told = not told, True
            return negotiation.render_object(
                self.resource,
                cache.head + entry.body,
                None,
                output,
                now=self._env.clock.now(),
                include=include,
                with_columns=first,
            )

        return render


async def _guarded(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A refusal after the first byte can only be told inside the stream."""
    try:
        async for chunk in body:
            yield chunk
    except StatusError as error:
        yield watching.frame("ERROR", codec.encode(error.status))
