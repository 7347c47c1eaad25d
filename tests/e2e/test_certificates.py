"""A user's way to a certificate, with what users have: a key, the official kubectl, and an administrator who approves."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from e2e_cluster import Cluster, eventually

pytestmark = pytest.mark.e2e

PEM = serialization.Encoding.PEM


def request_of(key: ec.EllipticCurvePrivateKey, user: str, group: str) -> str:
    """A PKCS #10 request in PEM, as ``openssl req -new`` makes one, in base64."""
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, group), x509.NameAttribute(NameOID.COMMON_NAME, user)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(PEM)).decode()


def test_a_user_logs_in_with_a_certificate_that_was_asked_for_and_approved(cluster: Cluster, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    key_file, certificate_file = tmp_path / "jane.key", tmp_path / "jane.crt"
    key_file.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    asked = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "jane"},
        "spec": {
            "request": request_of(key, "jane", "developers"),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
            "expirationSeconds": 3600,
        },
    }
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(asked))
    assert "Pending" in cluster.kubectl("get", "csr", "jane", "--no-headers")
    cluster.kubectl("certificate", "approve", "jane")
    certificate = eventually(lambda: cluster.get("csr", "jane")["status"].get("certificate"), 20)
    assert "Approved,Issued" in cluster.kubectl("get", "csr", "jane", "--no-headers")
    certificate_file.write_bytes(base64.b64decode(certificate))

    as_jane = ("--client-certificate", str(certificate_file), "--client-key", str(key_file))
    # A context of its own: the administrator's certificate must not be sent beside.
    config = tmp_path / "jane.yaml"
    config.write_text(cluster.kubectl("config", "view", "--raw", "--minify"))
    own = ("--kubeconfig", str(config))
    cluster.kubectl("config", "set-credentials", "jane", *as_jane, "--embed-certs", *own)
    cluster.kubectl("config", "set-context", "--current", "--user", "jane", *own)
    who = json.loads(cluster.kubectl("auth", "whoami", "-o", "json", *own))["status"]["userInfo"]
    assert who["username"] == "jane" and who["groups"] == ["developers", "system:authenticated"]
    refused = cluster.run("get", "pods", "-n", "default", *own)
    assert refused.returncode == 1 and 'User "jane" cannot list resource "pods"' in refused.stderr
    cluster.kubectl("create", "rolebinding", "developers-view", "-n", "default", "--clusterrole=view", "--group=developers")
    eventually(lambda: cluster.run("get", "pods", "-n", "default", *own).returncode == 0, 10)
    cluster.kubectl("delete", "csr/jane", "rolebinding/developers-view", "-n", "default")
