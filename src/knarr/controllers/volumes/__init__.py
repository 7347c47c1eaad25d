"""Persistent volumes: claims find volumes or have them made, volumes outlive or follow their claims.

``binding`` decides which volume fits, ``claims`` and ``volumes`` bind and reclaim, ``protection`` keeps what
is in use.
"""
