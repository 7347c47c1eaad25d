"""Knarr: Kubernetes written in Python, a whole cluster that can be read, imported and run."""

__version__ = "0.1.0"

#: The upstream release whose API and behaviour this version follows.
KUBERNETES_VERSION = "v1.36.0"
