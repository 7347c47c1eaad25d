"""The audit log: who did what, as far as a policy wants it known.

``policy`` decides how much of a request is written, ``events`` makes the event, ``backends`` writes or sends it, ``auditor`` is what the
server calls. Upstream's counterpart is ``apiserver/pkg/audit``.
"""
