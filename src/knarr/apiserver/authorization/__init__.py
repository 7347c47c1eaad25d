"""May this user do this? Several authorizers, asked in turn until one has an opinion.

``chain`` asks them; ``node`` speaks for kubelets, ``webhook`` asks a service of the operator's; role-based access control is in
``knarr.apiserver.rbac``. Upstream's counterpart is ``pkg/kubeapiserver/authorizer``.
"""
