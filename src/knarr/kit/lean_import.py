"""Importing the HTTP library without what no component needs of it: the machine's certificates.

aiohttp parses every certificate the machine trusts as it is imported, for clients that bring no TLS context of
their own. All of ours do: they trust the cluster's authority and nobody else. Left out, each of a cluster's
processes starts a tenth of a second sooner and is some megabytes smaller.

Neighbours: what in the API server calls others imports it when it first needs it, a node as it starts.
"""

from __future__ import annotations

import importlib
import os
import sys

__all__ = ["import_http_client"]

#: What OpenSSL reads for the places of trusted certificates.
_VARIABLES = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}


def import_http_client() -> None:
    """Import aiohttp's client; afterwards the environment is as it was. A second call does nothing."""
    if "aiohttp.connector" in sys.modules:
        return
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(_VARIABLES)
    try:
        importlib.import_module("aiohttp.connector")
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
