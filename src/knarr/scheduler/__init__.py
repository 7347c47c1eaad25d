"""The scheduler: which pod goes to which node.

``queue`` says which pod is next, ``table`` holds all nodes as columns, ``framework`` runs the plugins over
them, ``scheduler`` binds.
Scheduling itself is a function of a snapshot: ``framework.Framework.schedule(pod, table)`` reads no clock and
no API.
"""
