"""The API group kept in the folder metrics: what nodes and pods use now."""
