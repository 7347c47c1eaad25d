"""The kubelet's own HTTPS server: what the API server, metrics collectors and administrators ask a node
directly.
"""
