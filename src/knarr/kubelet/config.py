"""The kubelet's settings, with upstream's defaults.

Upstream counterpart: ``KubeletConfiguration`` (``pkg/kubelet/apis/config``). Neighbours: ``kubelet``
hands the parts what each needs; ``cluster`` fills it in for nodes on this machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from knarr.api.core import v1 as core

__all__ = ["KubeletConfig"]


@dataclass(slots=True)
class KubeletConfig:
    """Durations in seconds, sizes in bytes."""

    root_dir: Path = Path("/var/lib/kubelet")
    pod_logs_dir: Path = Path("/var/log/pods")
    container_logs_dir: Path = Path("/var/log/containers")
    cgroup_root: str = "/"
    cluster_dns: list[str] = field(default_factory=list)
    cluster_domain: str = "cluster.local"
    resolv_conf: Path = Path("/etc/resolv.conf")

    port: int = 10250
    max_pods: int = 110
    node_labels: dict[str, str] = field(default_factory=dict)
    node_annotations: dict[str, str] = field(default_factory=dict)
    register_with_taints: list[core.Taint] = field(default_factory=list)
    provider_id: str = ""
    #: Overrides what the machine has; simulated nodes have nothing else.
    capacity: dict[str, str] = field(default_factory=dict)
    kube_reserved: dict[str, str] = field(default_factory=dict)
    eviction_period_s: float = 10.0
    eviction_memory_available_bytes: int = 100 * 1024 * 1024
    eviction_nodefs_available_percent: int = 10
    eviction_nodefs_inodes_free_percent: int = 5

    sync_frequency_s: float = 60.0
    #: How soon a changed ConfigMap or Secret shows in a running pod's volumes, at the latest twice this.
    volume_refresh_s: float = 20.0
    relist_period_s: float = 1.0
    #: While the runtime reports changes by itself, a full look is only a safeguard.
    relist_period_with_events_s: float = 10.0
    node_status_update_s: float = 10.0
    node_status_report_s: float = 300.0
    node_lease_duration_s: int = 40
    housekeeping_period_s: float = 2.0
    runtime_request_timeout_s: float = 120.0

    image_gc_high_percent: int = 85
    image_gc_low_percent: int = 80
    image_minimum_age_s: float = 120.0
    container_gc_period_s: float = 60.0
    image_gc_period_s: float = 300.0
    max_container_restart_backoff_s: float = 300.0
    #: How long a deleted pod that serves still may, before its signal; upstream has no such pause.
    termination_drain_s: float = 0.0
    container_log_max_bytes: int = 10 * 1024 * 1024
    container_log_max_files: int = 5
    container_log_monitor_s: float = 10.0
    serialize_image_pulls: bool = True
