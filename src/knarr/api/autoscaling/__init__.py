"""The API group kept in the folder autoscaling."""
