"""Defaults of the rbac group: the API groups of subjects and role references.

Counterpart upstream: ``pkg/apis/rbac/v1/defaults.go``. ``knarr.api.defaulting`` calls through ``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.rbac import v1 as rbac

GROUP = "rbac.authorization.k8s.io"


def set_binding(binding: rbac.RoleBinding | rbac.ClusterRoleBinding) -> None:
    binding.roleRef.apiGroup = binding.roleRef.apiGroup or GROUP
    for subject in binding.subjects:
        if subject.kind in ("User", "Group"):
            subject.apiGroup = subject.apiGroup or GROUP


DEFAULTERS: dict[Any, Any] = {rbac.ClusterRoleBinding: set_binding, rbac.RoleBinding: set_binding}
