"""Other API servers behind this one: groups and versions that an APIService hands to a service of the cluster.

``priorities`` orders groups, ``local`` keeps an APIService for everything served here, ``backends`` finds and calls
the others, ``availability`` judges whether they can be called, ``aggregator`` puts it together.

Upstream's counterpart is ``kube-aggregator``.
"""
