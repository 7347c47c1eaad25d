"""StatefulSets: pods with names, an order, and volumes that stay theirs.

``identity`` makes a pod of a number, ``plan`` decides the next step, ``controller`` takes it.
"""
