"""The rules for webhook configurations and admission policies; ``expression_validation`` has those for their expressions.

Counterpart upstream: ``pkg/apis/admissionregistration/validation``. ``knarr.api.validation`` calls through
``RULES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from knarr.api import names
from knarr.api.admissionregistration import v1 as registration
from knarr.api.errors import FieldError, duplicate, field_forbidden, invalid_value, not_supported, required
from knarr.api.rules import Rules, each, label_selector, name_field, one_of

OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
SIDE_EFFECTS = ("None", "NoneOnDryRun")
ACCEPTED_VERSIONS = ("v1", "v1beta1")
#: What a policy can change: nothing that is deleted.
MUTATED = ("*", "CONNECT", "CREATE", "UPDATE")
ACTIONS = ("Audit", "Deny", "Warn")


def check_configuration(configuration: Any) -> list[FieldError]:
    faults: list[FieldError] = []
    seen: set[str] = set()
    for index, webhook in enumerate(configuration.webhooks):
        here = f"webhooks[{index}]"
        faults += _check_webhook(here, webhook)
        if webhook.name in seen:
            faults.append(duplicate(f"{here}.name", webhook.name))
        seen.add(webhook.name)
    return faults


def _check_webhook(field: str, webhook: Any) -> list[FieldError]:
    faults = _check_full_name(f"{field}.name", webhook.name)
    for index, rule in enumerate(webhook.rules):
        faults += _check_rule(f"{field}.rules[{index}]", rule)
    faults += one_of(f"{field}.failurePolicy", webhook.failurePolicy or "", ("Fail", "Ignore"))
    faults += one_of(f"{field}.matchPolicy", webhook.matchPolicy or "", ("Equivalent", "Exact"))
    if webhook.sideEffects is None:
        choices = ", ".join(SIDE_EFFECTS)
        faults.append(required(f"{field}.sideEffects", f"must specify one of {choices}"))
    else:
        faults += one_of(f"{field}.sideEffects", webhook.sideEffects, SIDE_EFFECTS)
    timeout_s = webhook.timeoutSeconds
    if timeout_s is not None and not 1 <= timeout_s <= 30:
        text = "the timeout value must be between 1 and 30 seconds"
        faults.append(invalid_value(f"{field}.timeoutSeconds", timeout_s, text))
    faults += label_selector(f"{field}.namespaceSelector", webhook.namespaceSelector)
    faults += label_selector(f"{field}.objectSelector", webhook.objectSelector)
    if webhook.matchConditions:
        # Compiling is needed by few, and then only.
        from knarr.api.admissionregistration.expression_validation import check_match_conditions

        faults += check_match_conditions(f"{field}.matchConditions", webhook.matchConditions)
    faults += check_client(f"{field}.clientConfig", webhook.clientConfig)
    return faults + _check_versions(f"{field}.admissionReviewVersions", webhook.admissionReviewVersions)


def _check_full_name(field: str, name: str) -> list[FieldError]:
    if not name:
        return [required(field)]
    if problems := names.dns1123_subdomain(name):
        return each(field, name, problems)
    if name.count(".") < 2:
        text = "should be a domain with at least three segments separated by dots"
        return [invalid_value(field, name, text)]
    return []


def _check_versions(field: str, versions: Sequence[str]) -> list[FieldError]:
    if not versions:
        text = f"must specify one of {', '.join(ACCEPTED_VERSIONS)}"
        return [required(field, text)]
    if not set(versions) & set(ACCEPTED_VERSIONS):
        text = f"must include at least one of {', '.join(ACCEPTED_VERSIONS)}"
        return [invalid_value(field, list(versions), text)]
    return []


def _check_rule(field: str, rule: Any) -> list[FieldError]:
    faults: list[FieldError] = []
    if not rule.operations:
        faults.append(required(f"{field}.operations"))
    for index, operation in enumerate(rule.operations):
        faults += one_of(f"{field}.operations[{index}]", operation, OPERATIONS)
    if len(rule.operations) > 1 and "*" in rule.operations:
        text = "if '*' is present, must not specify other operations"
        faults.append(invalid_value(f"{field}.operations", rule.operations, text))
    for name in ("apiGroups", "apiVersions", "resources"):
        values = getattr(rule, name)
        if not values:
            faults.append(required(f"{field}.{name}"))
        if name != "resources" and len(values) > 1 and "*" in values:
            noun = "API groups" if name == "apiGroups" else "API versions"
            text = f"if '*' is present, must not specify other {noun}"
            faults.append(invalid_value(f"{field}.{name}", values, text))
    if rule.scope is not None:
        faults += one_of(f"{field}.scope", rule.scope, SCOPES)
    return faults


def check_client(field: str, client: Any) -> list[FieldError]:
    """Either a URL or a service, as for conversion webhooks too."""
    if (client.url is None) == (client.service is None):
        text = "exactly one of url or service is required"
        return [required(field, text)]
    if client.url is not None:
        return check_url(f"{field}.url", client.url)
    service, here = client.service, f"{field}.service"
    faults = [required(f"{here}.{n}") for n in ("namespace", "name") if not getattr(service, n)]
    if service.port is not None:
        text = "port is not valid: must be between 1 and 65535, inclusive"
        faults += each(f"{here}.port", service.port, [text] if names.port_number(service.port) else [])
    if service.path and not service.path.startswith("/"):
        faults.append(invalid_value(f"{here}.path", service.path, "must start with a '/'"))
    return faults


def check_url(field: str, text: str) -> list[FieldError]:
    try:
        url = urlsplit(text)
    except ValueError as error:
        return [required(field, f"url must be a valid URL: {error}; desired format: https://host[/path]")]
    tail = "; desired format: https://host[/path]"
    faults: list[FieldError] = []
    if url.scheme != "https":
        faults.append(invalid_value(field, url.scheme, f"'https' is the only allowed URL scheme{tail}"))
    if not url.netloc:
        faults.append(invalid_value(field, url.netloc, f"host must be specified{tail}"))
    if url.username or url.password:
        faults.append(invalid_value(field, url.netloc, "user information is not permitted in the URL"))
    if url.fragment:
        faults.append(invalid_value(field, url.fragment, "fragments are not permitted in the URL"))
    if url.query:
        faults.append(invalid_value(field, url.query, "query parameters are not permitted in the URL"))
    return faults


def _check_match(field: str, match: registration.MatchResources | None) -> list[FieldError]:
    if match is None:
        return []
    faults = label_selector(f"{field}.namespaceSelector", match.namespaceSelector)
    faults += label_selector(f"{field}.objectSelector", match.objectSelector)
    for name in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(getattr(match, name)):
            faults += _check_rule(f"{field}.{name}[{index}]", rule)
    return faults


def check_validating_policy(policy: registration.ValidatingAdmissionPolicy) -> list[FieldError]:
    spec = policy.spec
    faults = _check_policy(spec)
    if not spec.validations and not spec.auditAnnotations:
        text = "validations or auditAnnotations must contain at least one item"
        faults += [required("spec.validations", text), required("spec.auditAnnotations", text)]
    from knarr.api.admissionregistration.expression_validation import check_validating

    return faults + check_validating(policy)


def check_mutating_policy(policy: registration.MutatingAdmissionPolicy) -> list[FieldError]:
    from knarr.api.admissionregistration.expression_validation import check_mutating

    spec = policy.spec
    faults = _check_policy(spec)
    for rule in spec.matchConstraints.resourceRules if spec.matchConstraints is not None else []:
        for operation in rule.operations:
            if operation not in MUTATED:
                field = "spec.matchConstraints.resourceRules.operations"
                faults.append(not_supported(field, operation, MUTATED))
    if not spec.mutations:
        faults.append(required("spec.mutations", "mutations must contain at least one item"))
    faults += check_mutating(policy)
    return faults + one_of("spec.reinvocationPolicy", spec.reinvocationPolicy, ("IfNeeded", "Never"))


def _check_policy(spec: Any) -> list[FieldError]:
    faults = one_of("spec.failurePolicy", spec.failurePolicy or "", ("Fail", "Ignore"))
    if spec.paramKind is not None:
        faults += _check_param_kind("spec.paramKind", spec.paramKind)
    if spec.matchConstraints is None:
        return [*faults, required("spec.matchConstraints")]
    if not spec.matchConstraints.resourceRules:
        faults.append(required("spec.matchConstraints.resourceRules"))
    return faults + _check_match("spec.matchConstraints", spec.matchConstraints)


def _check_param_kind(field: str, kind: registration.ParamKind) -> list[FieldError]:
    faults: list[FieldError] = []
    parts = kind.apiVersion.split("/")
    if not kind.apiVersion:
        faults.append(required(f"{field}.apiVersion"))
    elif len(parts) > 2:
        text = f"unexpected GroupVersion string: {kind.apiVersion}"
        faults.append(invalid_value(f"{field}.apiVersion", kind.apiVersion, text))
    else:
        if len(parts) == 2 and parts[0]:
            faults += each(f"{field}.apiVersion", parts[0], names.dns1123_subdomain(parts[0]))
        if not parts[-1]:
            faults.append(invalid_value(f"{field}.apiVersion", kind.apiVersion, "version must be specified"))
        else:
            faults += each(f"{field}.apiVersion", parts[-1], names.dns1035_label(parts[-1]))
    if not kind.kind:
        return [*faults, required(f"{field}.kind")]
    problems = names.dns1035_label(kind.kind.lower())
    text = f"may have mixed case, but should otherwise match: {','.join(problems)}"
    return [*faults, invalid_value(f"{field}.kind", kind.kind, text)] if problems else faults


def check_validating_binding(binding: registration.ValidatingAdmissionPolicyBinding) -> list[FieldError]:
    faults = _check_binding(binding.spec)
    actions = binding.spec.validationActions
    if not actions:
        faults.append(required("spec.validationActions", "at least one validation action is required"))
    for index, action in enumerate(actions):
        faults += one_of(f"spec.validationActions[{index}]", action, ACTIONS)
        if action in actions[:index]:
            faults.append(duplicate(f"spec.validationActions[{index}]", action))
    if "Deny" in actions and "Warn" in actions:
        text = "must not contain both Deny and Warn (repeating the same validation failure information in the"
        text = f"{text} API response and headers serves no purpose)"
        faults.append(invalid_value("spec.validationActions", actions, text))
    return faults


def check_mutating_binding(binding: registration.MutatingAdmissionPolicyBinding) -> list[FieldError]:
    return _check_binding(binding.spec)


def _check_binding(spec: Any) -> list[FieldError]:
    faults = name_field("spec.policyName", spec.policyName, names.dns1123_subdomain)
    if spec.paramRef is not None:
        faults += _check_param_ref("spec.paramRef", spec.paramRef)
    return faults + _check_match("spec.matchResources", spec.matchResources)


def _check_param_ref(field: str, ref: registration.ParamRef) -> list[FieldError]:
    faults: list[FieldError] = []
    if ref.name:
        faults += each(f"{field}.name", ref.name, names.path_segment(ref.name))
    if ref.name and ref.selector is not None:
        text = "name and selector are mutually exclusive"
        faults += [field_forbidden(f"{field}.name", text), field_forbidden(f"{field}.selector", text)]
    faults += label_selector(f"{field}.selector", ref.selector)
    if not ref.name and ref.selector is None:
        faults.append(required(field, "one of name or selector must be specified"))
    action, here = ref.parameterNotFoundAction or "", f"{field}.parameterNotFoundAction"
    if not action:
        return [*faults, required(here)]
    if action not in ("Deny", "Allow"):
        # Upstream lists these two in no order.
        text = f'Unsupported value: "{action}": supported values: "Deny", "Allow"'
        faults.append(FieldError("FieldValueNotSupported", here, text))
    return faults


RULES: dict[Any, Rules] = {
    registration.MutatingAdmissionPolicy: Rules(check_mutating_policy),
    registration.MutatingAdmissionPolicyBinding: Rules(check_mutating_binding),
    registration.MutatingWebhookConfiguration: Rules(check_configuration),
    registration.ValidatingAdmissionPolicy: Rules(check_validating_policy),
    registration.ValidatingAdmissionPolicyBinding: Rules(check_validating_binding),
    registration.ValidatingWebhookConfiguration: Rules(check_configuration),
}
