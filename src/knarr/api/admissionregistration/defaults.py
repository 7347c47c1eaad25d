"""Defaults of the admissionregistration group.

Counterpart upstream: ``pkg/apis/admissionregistration/v1/defaults.go``. ``knarr.api.defaulting`` calls
through ``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.admissionregistration import v1 as registration
from knarr.api.meta import v1 as meta

TIMEOUT_S = 10


def _set_webhook(webhook: Any) -> None:
    if webhook.failurePolicy is None:
        webhook.failurePolicy = "Fail"
    if webhook.matchPolicy is None:
        webhook.matchPolicy = "Equivalent"
    if webhook.namespaceSelector is None:
        webhook.namespaceSelector = meta.LabelSelector()
    if webhook.objectSelector is None:
        webhook.objectSelector = meta.LabelSelector()
    if webhook.timeoutSeconds is None:
        webhook.timeoutSeconds = TIMEOUT_S
    for rule in webhook.rules:
        if rule.scope is None:
            rule.scope = "*"
    service = webhook.clientConfig.service
    if service is not None and service.port is None:
        service.port = 443


def set_validating(configuration: registration.ValidatingWebhookConfiguration) -> None:
    for webhook in configuration.webhooks:
        _set_webhook(webhook)


def set_mutating(configuration: registration.MutatingWebhookConfiguration) -> None:
    for webhook in configuration.webhooks:
        _set_webhook(webhook)
        if webhook.reinvocationPolicy is None:
            webhook.reinvocationPolicy = "Never"


def _set_match(match: registration.MatchResources | None) -> None:
    if match is None:
        return
    if match.matchPolicy is None:
        match.matchPolicy = "Equivalent"
    if match.namespaceSelector is None:
        match.namespaceSelector = meta.LabelSelector()
    if match.objectSelector is None:
        match.objectSelector = meta.LabelSelector()
    for rule in [*match.resourceRules, *match.excludeResourceRules]:
        if rule.scope is None:
            rule.scope = "*"


def set_policy(policy: Any) -> None:
    if policy.spec.failurePolicy is None:
        policy.spec.failurePolicy = "Fail"
    _set_match(policy.spec.matchConstraints)


def set_binding(binding: Any) -> None:
    _set_match(binding.spec.matchResources)


DEFAULTERS: dict[Any, Any] = {
    registration.MutatingAdmissionPolicy: set_policy,
    registration.MutatingAdmissionPolicyBinding: set_binding,
    registration.MutatingWebhookConfiguration: set_mutating,
    registration.ValidatingAdmissionPolicy: set_policy,
    registration.ValidatingAdmissionPolicyBinding: set_binding,
    registration.ValidatingWebhookConfiguration: set_validating,
}
