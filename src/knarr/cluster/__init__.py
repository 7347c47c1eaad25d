"""A cluster on this machine: addresses, node namespaces, container runtimes, images, and the programs they need."""
