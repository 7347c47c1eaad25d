"""The signature by which a joining machine knows its cluster, letter for letter as kubeadm makes it."""

from __future__ import annotations

from knarr.controllers.bootstrap import detached_signature


def test_kubeadm_finds_the_signature_it_expects() -> None:
    content = "Hello from the other side. I must have called a thousand times."
    signature = detached_signature(content, "joshua", "my voice is my passcode")
    assert signature == "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
