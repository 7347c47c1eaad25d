"""Webhooks: servers of the user's that the API server asks, about a write (admission) or for an object in another version (conversion).

``transport`` carries bytes over TLS, ``client`` finds the server and turns what goes wrong into upstream's words; ``review`` makes and
reads an ``AdmissionReview``; ``hooks`` keeps the configured webhooks; ``mutating`` and ``validating`` are the admission plug-ins;
``conversion`` speaks ``ConversionReview``.
"""
