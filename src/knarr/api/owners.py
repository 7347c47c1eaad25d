"""Who owns whom: owner references, and the one among them that is the controller.

Counterpart upstream: ``apimachinery/pkg/apis/meta/v1/controller_ref.go``. Used by every controller that
makes objects, and by the garbage collector.
"""

from __future__ import annotations

from typing import Any

from knarr.api.meta import v1 as meta


def controller_of(obj: Any) -> meta.OwnerReference | None:
    """The reference to the controller of an object, or None."""
    return next((reference for reference in obj.metadata.ownerReferences if reference.controller), None)


def is_controlled_by(obj: Any, owner: Any) -> bool:
    """Whether ``owner`` is the controller of ``obj``, by uid."""
    reference = controller_of(obj)
    return reference is not None and reference.uid == owner.metadata.uid


def controller_reference(owner: Any) -> meta.OwnerReference:
    """A reference that makes ``owner`` the controller of what carries it, and blocks the owner's foreground
    deletion.
    """
    reference = owner_reference(owner)
    reference.controller = True
    reference.blockOwnerDeletion = True
    return reference


def owner_reference(owner: Any) -> meta.OwnerReference:
    """A plain reference: the garbage collector deletes what carries it once the owner is gone."""
    return meta.OwnerReference(
        apiVersion=owner.apiVersion, kind=owner.kind, name=owner.metadata.name, uid=owner.metadata.uid
    )
