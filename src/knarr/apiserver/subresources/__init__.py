"""What hangs below a resource and has a way of its own: scale, binding, eviction, tokens, and everything that
goes on to a node.
"""
