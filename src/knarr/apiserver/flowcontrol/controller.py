"""Priority and fairness as the server uses it: one call when a request comes, one when it is done.

While there are seats, a request costs a look into a table and two additions. The tables follow the FlowSchema and
PriorityLevelConfiguration objects; the mandatory ones are kept as they must be, the suggested ones as far as they are ours.

Upstream's counterpart is ``apf_controller.go``. Neighbours: ``levels`` and ``classify``; ``server`` calls ``enter`` after it knows the user
and before it asks whether he may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from knarr.api import codec
from knarr.api.errors import StatusError
from knarr.api.flowcontrol import v1 as flowcontrol
from knarr.api.meta import v1 as meta
from knarr.apiserver.flowcontrol.classify import Classifier
from knarr.apiserver.flowcontrol.defaults import AUTOUPDATE, MANDATORY, default_levels, default_schemas
from knarr.apiserver.flowcontrol.levels import Level, Refused, Seats
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.registry.strategy import Context
from knarr.apiserver.request import Request, UserInfo
from knarr.kit.clock import rfc3339
from knarr.kit.log import get_logger
from knarr.kit.tasks import all_done

__all__ = ["FlowControl", "Seat"]

log = get_logger("flowcontrol")

#: Between two looks at whether the defaults are as they must be.
MAINTAIN_S = 60.0
#: After a change, so that many changes are one piece of work.
SETTLE_S = 1.0
#: A list takes a seat for each hundred objects, but no more than this.
OBJECTS_A_SEAT, MAX_SEATS = 100, 10
SCHEMA_HEADER, LEVEL_HEADER = "X-Kubernetes-PF-FlowSchema-UID", "X-Kubernetes-PF-PriorityLevel-UID"

#: How many objects of the resource in a request there are.
CountObjects = Callable[[Request], int]


@dataclass(frozen=True, slots=True)
class Seat:
    """What a request holds until it is answered: places of a level. Those of one place are the same for all requests of a schema."""

    level: Level
    width: int
    schema_uid: str

    def mark(self, headers: MutableMapping[str, str]) -> None:
        """Say in an answer's headers how the request was classified."""
        headers[SCHEMA_HEADER] = self.schema_uid
        headers[LEVEL_HEADER] = self.level.uid


class FlowControl:
    """``total`` is the number of seats of the whole server."""

    def __init__(
        self,
        *,
        schemas: GenericRegistry,
        levels: GenericRegistry,
        total: int,
        count_objects: CountObjects,
        context: Callable[[], Context],
    ) -> None:
        self.seats = Seats(total)
        self.refusals: dict[tuple[str, str, str], int] = {}
        self._schemas = schemas
        self._levels = levels
        self._count_objects = count_objects
        self._context = context
        self._classifier = Classifier(())
        self._single: dict[str, Seat] = {}
        self._changed = asyncio.Event()
        self._stale = True
        for registry in (schemas, levels):
            registry.cache.subscribers.append(lambda _change: self._change())

    def _change(self) -> None:
        self._stale = True
        self._changed.set()

    def _rebuild(self) -> None:
        levels: list[flowcontrol.PriorityLevelConfiguration] = self._levels.objects()
        self.seats.configure(levels)
        known = {each.metadata.name for each in levels}
        schemas: list[flowcontrol.FlowSchema] = self._schemas.objects()
        good = [each for each in schemas if each.spec.priorityLevelConfiguration.name in known]
        self._classifier = Classifier(good)
        self._single = {
            each.metadata.name: Seat(
                self.seats.levels[each.spec.priorityLevelConfiguration.name], 1, each.metadata.uid
            )
            for each in good
        }
        self._stale = False

    def enter(self, request: Request) -> Seat | None:
        """A seat; None where the request must wait for one, or where no schema has it and it goes as it comes."""
        if self._stale:
            self._rebuild()
        schema = self._classifier.find(request.user, request.info, request.path)
        if schema is None:
            return None
        seat = self._single[schema.metadata.name]
        level = seat.level
        if level.exempt:
            return seat
        if request.info.verb == "list" and (width := self._width(request, level)) > 1:
            seat = Seat(level, width, seat.schema_uid)
        return seat if self.seats.take(level, seat.width) else None

    async def wait(self, request: Request) -> Seat | None:
        """The seat of a request that must wait. Raises ``Refused``."""
        schema = self._classifier.find(request.user, request.info, request.path)
        if schema is None:
            return None
        level = self.seats.levels[schema.spec.priorityLevelConfiguration.name]
        width = self._width(request, level) if request.info.verb == "list" else 1
        try:
            await self.seats.wait(level, width, flow_of(schema, request.user, request.info.namespace))
        except Refused as refused:
            key = (schema.metadata.name, level.name, refused.reason)
            self.refusals[key] = self.refusals.get(key, 0) + 1
            raise
        return Seat(level, width, schema.metadata.uid)

    def _width(self, request: Request, level: Level) -> int:
        """The seats of a list: no more than the level has, or it would wait until the whole server is idle."""
        wanted = -(-self._count_objects(request) // OBJECTS_A_SEAT)
        return max(1, min(wanted, MAX_SEATS, level.nominal))

    def leave(self, seat: Seat) -> None:
        self.seats.release(seat.level, seat.width)

    async def ensure(self) -> None:
        """Have the objects that every cluster has. Raises ``StatusError``."""
        await all_done(self._ensure(self._levels, wanted) for wanted in default_levels())
        await all_done(self._ensure(self._schemas, wanted) for wanted in default_schemas())

    async def _ensure(self, registry: GenericRegistry, wanted: Any) -> None:
        context, name = self._context(), wanted.metadata.name
        entry = registry.cache.get(registry.key("", name))
        if entry is None:
            try:
                await registry.create(context, wanted)
            except StatusError as error:
                # Another server that starts at the same time may have been faster.
                if error.reason != "AlreadyExists":
                    raise
            return
        held = registry.cache.object(entry)
        ours = name in MANDATORY or held.metadata.annotations.get(AUTOUPDATE) == "true"
        if not ours or held.spec == wanted.spec:
            return

        async def mutate(current: Any | None) -> Any:
            assert current is not None
            current.spec = wanted.spec
            return current

        await registry.update(context, "", name, mutate)

    async def start(self) -> None:
        """Before the first request: everything as it must be. Raises ``StatusError``."""
        await self.ensure()
        await self._tell()
        self._changed.clear()

    async def run(self) -> None:
        """Keep the defaults and the schemas' conditions as they must be, until cancelled."""
        clock = self._context().clock
        while True:
            try:
                async with asyncio.timeout(MAINTAIN_S):
                    await self._changed.wait()
                await clock.sleep(SETTLE_S)
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self.ensure()
                await self._tell()
            except StatusError as error:
                log.warning("flow control objects not maintained", error=error)

    async def _tell(self) -> None:
        """Say of every schema whether its priority level exists."""
        writes = []
        for schema in self._schemas.objects():
            level = schema.spec.priorityLevelConfiguration.name
            exists = self._levels.cache.get(self._levels.key("", level)) is not None
            about = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
            status, reason, text = (
                ("False", "Found", f"{about} and it exists")
                if exists
                else ("True", "NotFound", f"{about} but there is no such object")
            )
            held = next((each for each in schema.status.conditions if each.type == "Dangling"), None)
            if held is not None and (held.status, held.reason, held.message) == (status, reason, text):
                continue
            writes.append(self._write_condition(schema, status, reason, text))
        await all_done(writes)

    async def _write_condition(self, schema: flowcontrol.FlowSchema, status: str, reason: str, text: str) -> None:
        context = self._context()
        condition = flowcontrol.FlowSchemaCondition(
            type="Dangling",
            status=status,
            reason=reason,
            message=text,
            lastTransitionTime=rfc3339(context.clock.now()),
        )

        async def mutate(current: Any) -> Any:
            changed: flowcontrol.FlowSchema = codec.copy(current)
            kept = [each for each in changed.status.conditions if each.type != "Dangling"]
            changed.status.conditions = [*kept, condition]
            return changed

        try:
            await self._schemas.update(
                context,
                "",
                schema.metadata.name,
                mutate,
                subresource="status",
                preconditions=meta.Preconditions(uid=schema.metadata.uid),
            )
        except StatusError as error:
            if error.code not in (404, 409):
                raise


def flow_of(schema: flowcontrol.FlowSchema, user: UserInfo, namespace: str) -> str:
    """What the schema tells flows apart by."""
    method = schema.spec.distinguisherMethod
    if method is None:
        return schema.metadata.name
    return f"{schema.metadata.name}\0{user.name if method.type == 'ByUser' else namespace}"
