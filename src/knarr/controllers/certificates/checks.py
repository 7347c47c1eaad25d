"""What each signer of ``kubernetes.io`` demands of a request before it signs.

Pure. The library for certificates is imported here, so whoever calls imports this module with the first request.

Upstream's counterpart is ``pkg/apis/certificates/helpers.go``, where kubelets' requests are judged, and the signer's own check of client
certificates. Neighbours: ``approving`` and ``signing`` ask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import NameOID

from knarr.api.certificates.signers import (
    KUBE_APISERVER_CLIENT,
    KUBE_APISERVER_CLIENT_KUBELET,
    KUBELET_SERVING,
    LEGACY_UNKNOWN,
)

__all__ = ["common_name", "names_of", "problem_of"]

N = TypeVar("N", x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier)

NODES_GROUP, NODE_PREFIX = "system:nodes", "system:node:"
_OPTIONAL_CLIENT_USAGES = ("digital signature", "key encipherment")
#: Keys that cannot encrypt leave out "key encipherment".
_CLIENT_USAGES = frozenset(("digital signature", "key encipherment", "client auth"))
_SERVING_USAGES = frozenset(("digital signature", "key encipherment", "server auth"))


def problem_of(signer: str, request: x509.CertificateSigningRequest, usages: Collection[str]) -> str:
    """Why ``signer`` refuses the request; empty if it signs."""
    return _CHECKS[signer](request, usages)


def common_name(request: x509.CertificateSigningRequest) -> str:
    """The last one, as upstream's library takes it; empty without any."""
    found = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[-1].value) if found else ""


def names_of(request: x509.CertificateSigningRequest, kind: type[N]) -> list[N]:
    """The alternative names of one kind."""
    try:
        extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [name for name in extension.value if isinstance(name, kind)]


def _client_problem(request: x509.CertificateSigningRequest, usages: Collection[str]) -> str:
    for usage in usages:
        if usage != "client auth" and usage not in _OPTIONAL_CLIENT_USAGES:
            return f"invalid usage for client certificate: {usage}"
    return "" if "client auth" in usages else "missing required usage for client certificate: client auth"


def _kubelet_client_problem(request: x509.CertificateSigningRequest, usages: Collection[str]) -> str:
    if not _is_of_nodes(request):
        return "subject organization is not system:nodes"
    if names_of(request, x509.DNSName):
        return "DNS subjectAltNames are not allowed"
    if names_of(request, x509.RFC822Name):
        return "Email subjectAltNames are not allowed"
    if names_of(request, x509.IPAddress):
        return "IP subjectAltNames are not allowed"
    if names_of(request, x509.UniformResourceIdentifier):
        return "URI subjectAltNames are not allowed"
    return _node_name_problem(request) or _usages_problem(usages, _CLIENT_USAGES)


def _kubelet_serving_problem(request: x509.CertificateSigningRequest, usages: Collection[str]) -> str:
    if not _is_of_nodes(request):
        return "subject organization is not system:nodes"
    if not names_of(request, x509.DNSName) and not names_of(request, x509.IPAddress):
        return "DNS or IP subjectAltName is required"
    if names_of(request, x509.RFC822Name):
        return "Email subjectAltNames are not allowed"
    if names_of(request, x509.UniformResourceIdentifier):
        return "URI subjectAltNames are not allowed"
    return _usages_problem(usages, _SERVING_USAGES) or _node_name_problem(request)


def _nothing_asked(request: x509.CertificateSigningRequest, usages: Collection[str]) -> str:
    return ""


def _is_of_nodes(request: x509.CertificateSigningRequest) -> bool:
    groups = request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return [group.value for group in groups] == [NODES_GROUP]


def _node_name_problem(request: x509.CertificateSigningRequest) -> str:
    if common_name(request).startswith(NODE_PREFIX):
        return ""
    return "subject common name does not begin with system:node:"


def _usages_problem(usages: Collection[str], wanted: frozenset[str]) -> str:
    if set(usages) in (wanted, wanted - {"key encipherment"}):
        return ""
    return f"usages did not match [{' '.join(sorted(wanted))}]"


_CHECKS: dict[str, Callable[[x509.CertificateSigningRequest, Collection[str]], str]] = {
    KUBE_APISERVER_CLIENT: _client_problem,
    KUBE_APISERVER_CLIENT_KUBELET: _kubelet_client_problem,
    KUBELET_SERVING: _kubelet_serving_problem,
    LEGACY_UNKNOWN: _nothing_asked,
}
