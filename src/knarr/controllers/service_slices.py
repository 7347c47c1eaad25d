"""The EndpointSlices that one controller keeps, by the service they are for: found without looking at any others.

Neighbours: ``endpoint_slices`` keeps those of services with a selector, ``endpoint_slice_mirroring`` those of Endpoints written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from knarr.api.discovery import v1 as discovery
from knarr.controllers.framework import Controller, Key

__all__ = ["MANAGED_BY_LABEL", "SERVICE_LABEL", "ServiceSlices"]

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"


class ServiceSlices:
    """Those that ``manager`` made; a change of one brings its service to ``controller``."""

    def __init__(self, controller: Controller, manager: str) -> None:
        self._controller = controller
        self._manager = manager
        self._lister = controller.lister(discovery.EndpointSlice)
        self._lister.add_index("service", _file_by_service)
        controller.informer(discovery.EndpointSlice).add_handler(self._changed)

    def of(self, key: Key) -> list[discovery.EndpointSlice]:
        """The slices of a service."""
        return [each for each in self._lister.by_index("service", "/".join(key)) if self._is_ours(each)]

    def _is_ours(self, each: discovery.EndpointSlice) -> bool:
        return each.metadata.labels.get(MANAGED_BY_LABEL) == self._manager

    def _changed(self, event: str, old: Any, new: Any) -> None:
        for each in (old, new):
            if each is not None and self._is_ours(each):
                self._controller.queue.add((each.metadata.namespace, each.metadata.labels.get(SERVICE_LABEL, "")))


def _file_by_service(each: discovery.EndpointSlice) -> Iterable[str]:
    name = each.metadata.labels.get(SERVICE_LABEL)
    return (f"{each.metadata.namespace}/{name}",) if name else ()
