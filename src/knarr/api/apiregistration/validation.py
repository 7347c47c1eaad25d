"""The rules for API services.

Counterpart upstream: ``kube-aggregator/pkg/apis/apiregistration/validation``. ``knarr.api.validation`` calls
through ``RULES``.
"""

from __future__ import annotations

from typing import Any

from knarr.api import names
from knarr.api.apiregistration import v1 as apiregistration
from knarr.api.errors import FieldError, invalid_value, required
from knarr.api.rules import Rules, each

MAX_GROUP_PRIORITY, MAX_VERSION_PRIORITY = 20000, 1000


def check_service(api_service: apiregistration.APIService) -> list[FieldError]:
    spec = api_service.spec
    faults: list[FieldError] = []
    wanted = f"{spec.version}.{spec.group}"
    if api_service.metadata.name != wanted:
        text = f'must be `spec.version+"."+spec.group`: "{wanted}"'
        faults.append(invalid_value("metadata.name", api_service.metadata.name, text))
    if spec.group:
        faults += each("spec.group", spec.group, names.dns1123_subdomain(spec.group))
    elif spec.version != "v1":
        faults.append(required("spec.group", "only v1 may have an empty group and it better be legacy kube"))
    faults += each("spec.version", spec.version, names.dns1035_label(spec.version))
    for name, limit in (
        ("groupPriorityMinimum", MAX_GROUP_PRIORITY),
        ("versionPriority", MAX_VERSION_PRIORITY),
    ):
        value = getattr(spec, name)
        if not 0 < value <= limit:
            text = f"must be positive and less than {limit}"
            faults.append(invalid_value(f"spec.{name}", value, text))
    return faults + _check_backend(spec)


def _check_backend(spec: apiregistration.APIServiceSpec) -> list[FieldError]:
    if spec.service is None:
        faults = []
        if spec.caBundle:
            text = "local APIServices may not have a caBundle"
            faults.append(invalid_value("spec.caBundle", f"{len(spec.caBundle)} bytes", text))
        if spec.insecureSkipTLSVerify:
            text = "local APIServices may not have insecureSkipTLSVerify"
            faults.append(invalid_value("spec.insecureSkipTLSVerify", True, text))
        return faults
    faults = [
        required(f"spec.service.{name}") for name in ("namespace", "name") if not getattr(spec.service, name)
    ]
    if spec.insecureSkipTLSVerify and spec.caBundle:
        text = "may not be true if caBundle is present"
        faults.append(invalid_value("spec.insecureSkipTLSVerify", True, text))
    return faults


RULES: dict[Any, Rules] = {apiregistration.APIService: Rules(check_service, name=names.path_segment)}
