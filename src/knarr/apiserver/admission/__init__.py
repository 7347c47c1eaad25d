"""What may change or refuse a write after it is known who asks and that they may: one plug-in a module."""
