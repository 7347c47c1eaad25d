"""Pod Security admission: what pods a namespace lets in, by its labels.

``policy`` reads labels, ``checks`` is the list of checks with the versions they begin at, ``baseline`` and ``restricted`` hold them, and
``plugin`` admits. Upstream's counterpart is ``k8s.io/pod-security-admission``.
"""

from knarr.apiserver.admission.pod_security.plugin import PodSecurity, PodSecurityOptions

__all__ = ["PodSecurity", "PodSecurityOptions"]
