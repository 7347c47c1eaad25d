"""The names by which certificates are asked for and judged.

Apart from ``validation`` and ``requests``, because these two bring in the library for certificates: a controller
needs that only when somebody asks for one. Counterpart upstream: ``staging/src/k8s.io/api/certificates/v1/types.go``.
"""

from __future__ import annotations

KUBE_APISERVER_CLIENT = "kubernetes.io/kube-apiserver-client"
KUBE_APISERVER_CLIENT_KUBELET = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
#: No request of this version may name it; what an older one has stored is still signed.
LEGACY_UNKNOWN = "kubernetes.io/legacy-unknown"

APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
