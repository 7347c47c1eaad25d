"""The rules for resource claims, classes and slices.

Counterpart upstream: ``pkg/apis/resource/validation``. ``knarr.api.validation`` calls through ``RULES``. Neighbour: ``selectors``.
"""

from __future__ import annotations

from typing import Any

from knarr.api import names
from knarr.api.errors import FieldError, duplicate, invalid_value, required, too_many
from knarr.api.resource import v1 as resource
from knarr.api.rules import Rules, name_field, one_of, positive, unchanged

#: Selectors a class or a request may have, and configurations of a class.
MAX_ENTRIES = 32


def _check_spec(field: str, spec: resource.ResourceClaimSpec) -> list[FieldError]:
    faults: list[FieldError] = []
    seen: set[str] = set()
    for index, request in enumerate(spec.devices.requests):
        here = f"{field}.devices.requests[{index}]"
        faults += name_field(f"{here}.name", request.name, names.dns1123_label)
        if request.name in seen:
            faults.append(duplicate(f"{here}.name", request.name))
        seen.add(request.name)
        if (request.exactly is None) == (not request.firstAvailable):
            text = "exactly one of `exactly` or `firstAvailable` is required"
            faults.append(required(here, text))
        if request.exactly is not None:
            faults += _check_request(f"{here}.exactly", request.exactly)
        for number, alternative in enumerate(request.firstAvailable):
            place = f"{here}.firstAvailable[{number}]"
            faults += name_field(f"{place}.name", alternative.name, names.dns1123_label)
            faults += _check_request(place, alternative)
    return faults


def _check_request(field: str, request: Any) -> list[FieldError]:
    faults = name_field(f"{field}.deviceClassName", request.deviceClassName, names.dns1123_subdomain)
    faults += _check_selectors(f"{field}.selectors", request.selectors)
    faults += one_of(f"{field}.allocationMode", request.allocationMode, ("All", "ExactCount"))
    if request.allocationMode == "ExactCount":
        faults += positive(f"{field}.count", request.count)
    elif request.count:
        text = "must not be specified when allocationMode is 'All'"
        faults.append(invalid_value(f"{field}.count", request.count, text))
    return faults


def _check_selectors(field: str, selectors: list[resource.DeviceSelector]) -> list[FieldError]:
    if len(selectors) > MAX_ENTRIES:
        return [too_many(field, len(selectors), MAX_ENTRIES)]
    faults: list[FieldError] = []
    for index, selector in enumerate(selectors):
        here = f"{field}[{index}].cel"
        if selector.cel is None:
            faults.append(required(here))
            continue
        # Few clusters have devices, and then nothing of what compiles expressions is needed.
        from knarr.api.resource.selectors import check_selector

        faults += check_selector(f"{here}.expression", selector.cel.expression)
    return faults


def check_claim(claim: resource.ResourceClaim) -> list[FieldError]:
    return _check_spec("spec", claim.spec)


def check_claim_update(new: resource.ResourceClaim, old: resource.ResourceClaim) -> list[FieldError]:
    return unchanged("spec", new.spec, old.spec)


def check_template(template: resource.ResourceClaimTemplate) -> list[FieldError]:
    return _check_spec("spec.spec", template.spec.spec)


def check_template_update(
    new: resource.ResourceClaimTemplate, old: resource.ResourceClaimTemplate
) -> list[FieldError]:
    return unchanged("spec", new.spec, old.spec)


def check_slice(resource_slice: resource.ResourceSlice) -> list[FieldError]:
    spec = resource_slice.spec
    faults = name_field("spec.driver", spec.driver, names.dns1123_subdomain)
    if not spec.pool.name:
        faults.append(required("spec.pool.name"))
    if spec.pool.resourceSliceCount <= 0:
        text = "must be greater than zero"
        faults.append(invalid_value("spec.pool.resourceSliceCount", spec.pool.resourceSliceCount, text))
    places = (spec.nodeName, spec.nodeSelector, spec.allNodes, spec.perDeviceNodeSelection)
    if sum(bool(place) for place in places) != 1:
        text = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
        faults.append(required("spec", text))
    for index, device in enumerate(spec.devices):
        faults += name_field(f"spec.devices[{index}].name", device.name, names.dns1123_label)
    return faults


def check_slice_update(new: resource.ResourceSlice, old: resource.ResourceSlice) -> list[FieldError]:
    faults = unchanged("spec.driver", new.spec.driver, old.spec.driver)
    faults += unchanged("spec.pool.name", new.spec.pool.name, old.spec.pool.name)
    return faults + unchanged("spec.nodeName", new.spec.nodeName, old.spec.nodeName)


def check_class(device_class: resource.DeviceClass) -> list[FieldError]:
    spec = device_class.spec
    faults = _check_selectors("spec.selectors", spec.selectors)
    if len(spec.config) > MAX_ENTRIES:
        faults.append(too_many("spec.config", len(spec.config), MAX_ENTRIES))
    for index, configuration in enumerate(spec.config):
        here = f"spec.config[{index}].opaque"
        if configuration.opaque is None:
            faults.append(required(here))
            continue
        faults += name_field(f"{here}.driver", configuration.opaque.driver, names.dns1123_subdomain)
        if configuration.opaque.parameters is None:
            faults.append(required(f"{here}.parameters"))
    return faults


RULES: dict[Any, Rules] = {
    resource.DeviceClass: Rules(check_class),
    resource.ResourceClaim: Rules(check_claim, check_claim_update),
    resource.ResourceClaimTemplate: Rules(check_template, check_template_update),
    resource.ResourceSlice: Rules(check_slice, check_slice_update),
}
