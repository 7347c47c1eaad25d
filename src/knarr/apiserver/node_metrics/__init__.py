"""``metrics.k8s.io``: what nodes and pods use, for ``kubectl top`` and the autoscaler, from the kubelets' own counters.

``points`` reads a kubelet's answer, ``kubelets`` gets it, ``scraper`` remembers it, ``endpoint`` answers. Unlike upstream's
metrics-server, nothing is asked while nobody asks, and no pod has to run for it. The APIService is a local one: who installs a
metrics-server replaces it by one that names a service, and aggregation then sends requests there.
"""
