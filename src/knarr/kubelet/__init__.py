"""The kubelet: makes the containers of one node what the API says they should be.

Order of the flow: ``kubelet`` (wiring) -> ``pod_workers`` (one task a pod) -> ``pod_sync`` (volumes,
sandbox, containers) -> ``runtime`` (CRI) -> ``pleg`` (what changed) -> ``status`` (what the API is told).
Upstream counterpart: ``pkg/kubelet``.
"""
