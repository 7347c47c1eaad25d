"""Entry point of a component's process: ``python -m knarr.cluster.run COMPONENT OPTIONS``, the options as JSON.

The supervisor starts components this way; people use ``knarr apiserver`` and its siblings, which end up here too.
"""

from __future__ import annotations

import gc
import sys

import msgspec

from knarr.cluster import components
from knarr.kit.log import configure

#: Objects live long here; the default threshold would have the collector look through all of them again and again.
GC_THRESHOLD = (50_000, 20, 50)


def main(component: str, options: str) -> None:
    """Run one component until it is told to stop."""
    configure()
    gc.set_threshold(*GC_THRESHOLD)
    if component == "apiserver":
        api = msgspec.json.decode(options, type=components.ApiServerOptions)
        components.run_process(lambda: components.run_apiserver(api))
    elif component == "controller-manager":
        control = msgspec.json.decode(options, type=components.ControlOptions)
        components.run_process(lambda: components.run_controllers(control))
    elif component == "node":
        node = msgspec.json.decode(options, type=components.NodeConfig)
        components.run_process(lambda: components.run_node(node))
    else:
        sys.exit(f"there is no component {component!r}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
