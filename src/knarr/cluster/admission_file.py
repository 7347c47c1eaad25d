"""``--admission-control-config-file``: an AdmissionConfiguration with the configurations of plug-ins, in it or in files beside it.

Understood are those of ``PodSecurity`` and ``EventRateLimit``; any other plug-in named is an error rather than silence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knarr.apiserver.admission.optional import DEFAULT_CACHE_SIZE, EventLimit
from knarr.apiserver.admission.pod_security.plugin import PodSecurityOptions
from knarr.apiserver.admission.pod_security.policy import LevelVersion, Policy, parse_level, parse_version
from knarr.cluster.access_files import read_yaml

__all__ = ["AdmissionFile", "read_admission_file"]


@dataclass(slots=True)
class AdmissionFile:
    """What the file says."""

    pod_security: PodSecurityOptions = field(default_factory=PodSecurityOptions)
    event_limits: tuple[EventLimit, ...] = ()


def read_admission_file(path: str) -> AdmissionFile:
    """Raises ``ValueError`` and ``OSError``."""
    made = AdmissionFile()
    if not path:
        return made
    document = read_yaml(path)
    if not isinstance(document, dict) or document.get("kind") != "AdmissionConfiguration":
        raise ValueError(f"{path}: expected an AdmissionConfiguration")
    for plugin in document.get("plugins") or ():
        name = plugin.get("name", "")
        configuration = plugin.get("configuration")
        if configuration is None and plugin.get("path"):
            configuration = read_yaml(str(Path(path).parent / plugin["path"]))
        if name == "PodSecurity":
            made.pod_security = _pod_security(configuration or {})
        elif name == "EventRateLimit":
            made.event_limits = tuple(_limit(each) for each in (configuration or {}).get("limits") or ())
        else:
            raise ValueError(f"{path}: no configuration is known for the admission plug-in {name!r}")
    return made


def _pod_security(configuration: dict[str, Any]) -> PodSecurityOptions:
    defaults = configuration.get("defaults") or {}
    modes = {
        mode: LevelVersion(
            parse_level(defaults.get(mode) or "privileged"), parse_version(defaults.get(f"{mode}-version") or "latest")
        )
        for mode in ("enforce", "audit", "warn")
    }
    exemptions = configuration.get("exemptions") or {}
    return PodSecurityOptions(
        Policy(**modes),
        frozenset(exemptions.get("usernames") or ()),
        frozenset(exemptions.get("namespaces") or ()),
        frozenset(exemptions.get("runtimeClasses") or ()),
    )


def _limit(entry: dict[str, Any]) -> EventLimit:
    return EventLimit(
        entry.get("type", ""), entry.get("qps", 0), entry.get("burst", 0), entry.get("cacheSize") or DEFAULT_CACHE_SIZE
    )
