"""The API server: http -> authentication -> authorization -> admission -> registry -> store.

``server.APIServer`` wires the rooms and answers ``Request`` with ``Response``; ``listener`` puts it on a TLS
port and ``loopback`` inside a process.
"""
