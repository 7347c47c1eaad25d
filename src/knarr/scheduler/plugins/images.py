"""ImageLocality: nodes that hold the pod's images already score higher."""

from __future__ import annotations

import numpy as np

from knarr.api.core import v1 as core
from knarr.scheduler.framework import MAX_SCORE, CycleState, Plugin, Scores
from knarr.scheduler.table import Mask, NodeTable

MIN_BYTES, MAX_BYTES = 23 * 1024 * 1024, 1000 * 1024 * 1024


class ImageLocality(Plugin):
    name = "ImageLocality"

    def score(self, state: CycleState, pod: core.Pod, table: NodeTable, feasible: Mask) -> Scores | None:
        held = np.zeros(table.size, np.float64)
        containers = [*pod.spec.initContainers, *pod.spec.containers]
        for container in containers:
            rows = table.image_bytes(_normalized(container.image))
            # An image on few nodes counts less, so that not all pods run to them.
            spread = len(rows) / max(len(table), 1)
            for row, size in rows.items():
                held[row] += size * spread
        if not held.any():
            return None
        limit = MAX_BYTES * max(len(containers), 1)
        clipped = np.clip(held, MIN_BYTES, limit)
        return (clipped - MIN_BYTES) * MAX_SCORE / (limit - MIN_BYTES)


def _normalized(image: str) -> str:
    """Nodes report images with a tag; a name without one means ``latest``."""
    if "@" in image or ":" in image.rsplit("/", 1)[-1]:
        return image
    return f"{image}:latest"
