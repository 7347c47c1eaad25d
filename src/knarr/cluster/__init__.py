"""A cluster on this machine: addresses, node namespaces, container runtimes, images, and the programs they need."""

from knarr.kit.lean_import import import_http_client

# Before any module here brings it in the slow way.
import_http_client()
