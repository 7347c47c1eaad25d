"""The container runtime's seam: ``contract`` says what it is, ``cri`` speaks to containerd, ``simulated``
runs nothing.
"""
