"""One versioned key-value contract, several engines. Only this room talks to SQLite or etcd."""
