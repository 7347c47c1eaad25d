"""The way of packets: service proxy, cluster DNS, and the pod network of a node."""
