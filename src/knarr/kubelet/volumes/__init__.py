"""Volumes: what they contain (``payload``), how that gets onto the disk (``atomic_writer``), and who keeps
it so.
"""
