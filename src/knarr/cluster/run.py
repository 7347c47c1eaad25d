"""Entry point of a component's process: ``python -m knarr.cluster.run COMPONENT OPTIONS``, the options as
JSON.

The supervisor starts components this way; people use ``knarr apiserver`` and its siblings, which end up here
too.
"""

from __future__ import annotations

import gc
import sys

import msgspec

from knarr.cluster import components
from knarr.kit.log import configure

#: Objects live long here; the default threshold would have the collector look through all of them again and
#: again.
GC_THRESHOLD = (50_000, 20, 50)


def start(component: str, options: object) -> None:
    """Run one component until it is told to stop."""
    configure()
    gc.set_threshold(*GC_THRESHOLD)
    if isinstance(options, components.ApiServerOptions):
        components.run_process(lambda: components.run_apiserver(options))
    elif isinstance(options, components.ControlOptions):
        components.run_process(lambda: components.run_controllers(options))
    elif isinstance(options, components.SchedulerOptions):
        components.run_process(lambda: components.run_scheduler(options))
    elif isinstance(options, components.FleetOptions):
        components.run_process(lambda: components.run_fleet(options))
    elif isinstance(options, components.NodeConfig):
        components.run_process(lambda: components.run_node(options))
    else:
        raise AssertionError(f"{component} has no options of type {type(options).__name__}")


OPTIONS = {
    "apiserver": components.ApiServerOptions,
    "controller-manager": components.ControlOptions,
    "scheduler": components.SchedulerOptions,
    "simulated-nodes": components.FleetOptions,
    "node": components.NodeConfig,
}


def main(component: str, options: str) -> None:
    """Run the component the supervisor asked for."""
    if component not in OPTIONS:
        sys.exit(f"there is no component {component!r}")
    start(component, msgspec.json.decode(options, type=OPTIONS[component]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
