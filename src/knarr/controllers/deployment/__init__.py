"""Deployments: rolling from one pod template to another, by growing one ReplicaSet and shrinking others.

``rolling`` decides sizes, ``revisions`` numbers and finds ReplicaSets, ``progress`` describes how it goes,
``controller`` does it.
"""
