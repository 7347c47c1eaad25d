"""Who sends a request: client certificate, bearer token, or nobody known; and whom it acts as.

``authenticator`` tries each way in turn, ``impersonation`` changes the user for those who may, and each kind of token that is not
a service account's has a module of its own. Upstream's counterpart is ``pkg/kubeapiserver/authenticator``.
"""

from knarr.apiserver.authentication.authenticator import Authenticator, with_group
from knarr.apiserver.authentication.impersonation import impersonate

__all__ = ["Authenticator", "impersonate", "with_group"]
