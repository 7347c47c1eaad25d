"""What ``kubectl get`` shows of each kind: one module a family of kinds, each a tuple of printers.

``knarr.api.tables`` gathers them. Counterpart upstream: ``pkg/printers/internalversion``.
"""
