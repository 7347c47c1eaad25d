"""Persistent volumes: claims find volumes or have them made, volumes outlive or follow their claims.

``binding`` decides which volume fits, ``claims`` and ``volumes`` bind and reclaim, ``expansion`` lets claims grow, ``ephemeral`` makes the claims
that pods bring, ``attach_detach`` attaches volumes to nodes, ``protection`` keeps what
is in use.
"""
