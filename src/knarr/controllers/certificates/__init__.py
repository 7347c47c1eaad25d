"""Certificates on request: who asks may be approved by rule, what is approved is signed, what is old is swept.

Upstream's counterpart is ``pkg/controller/certificates``.
"""
