"""Every figure this project claims, one command each: ``python -m bench.NAME [--kubeconfig FILE]``."""
