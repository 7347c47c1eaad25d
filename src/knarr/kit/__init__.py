"""What every room stands on and that knows nothing of Kubernetes: time, chance, tasks, back-off, logging."""
