"""Streams for clients that speak WebSocket as today's kubectl does, over kubelets that speak SPDY.

``websocket`` is the client's side, ``spdy`` and ``backend`` the kubelet's; ``remote_command`` carries exec and attach between them,
``port_forward`` takes SPDY out of the WebSocket it is wrapped in, ``reading`` sends a log through one. Older protocols (SPDY, WebSocket v4) need none of this: they are
tunnelled byte for byte.

Upstream's counterpart is ``apimachinery/pkg/util/proxy`` (stream translator and stream tunnel).
"""
