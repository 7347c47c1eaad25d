"""Talking to an API server: the typed client, informers, work queues, leases, events.

Glossary, in upstream's words: a *Reflector* keeps a copy of one kind by list and watch; an *Informer* owns
that copy, serves it
through a *Lister* and tells handlers of changes; a *WorkQueue* holds the keys a controller still has to
reconcile.
"""
