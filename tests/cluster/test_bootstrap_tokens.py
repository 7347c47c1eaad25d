"""A machine that joins: whom it may trust, and that its token ends in time."""

from __future__ import annotations

import base64
from datetime import timedelta

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.controllers.bootstrap import detached_signature
from knarr.kit.clock import rfc3339
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

QUIET = {"nodes": 0, "scheduler": False}
SECRET = "0123456789abcdef"


def token(cluster: InProcessCluster, token_id: str, *, lasts_s: float | None = None, **more: str) -> core.Secret:
    data = {"token-id": token_id, "token-secret": SECRET, "usage-bootstrap-signing": "true"}
    if lasts_s is not None:
        data["expiration"] = rfc3339(cluster.clock.now() + timedelta(seconds=lasts_s))
    data.update({key.replace("_", "-"): text for key, text in more.items()})
    return core.Secret(
        metadata=meta.ObjectMeta(name=f"bootstrap-token-{token_id}", namespace="kube-system"),
        type="bootstrap.kubernetes.io/token",
        data={key: base64.b64encode(text.encode()).decode() for key, text in data.items()},
    )


async def info(cluster: InProcessCluster) -> core.ConfigMap:
    return await cluster.client.get(core.ConfigMap, "cluster-info", namespace="kube-public")


def test_cluster_info_is_signed_by_every_token_that_may_and_by_no_other(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        client = cluster.client
        await client.create(token(cluster, "abcdef"))
        await client.create(token(cluster, "aaaaaa", lasts_s=300))
        await client.create(token(cluster, "bbbbbb", usage_bootstrap_signing="false"))
        metadata = meta.ObjectMeta(name="cluster-info", namespace="kube-public")
        await client.create(core.ConfigMap(metadata=metadata, data={"kubeconfig": "first", "note": "kept"}))
        await cluster.sleep(5)
        wanted = {f"jws-kubeconfig-{each}": detached_signature("first", each, SECRET) for each in ("abcdef", "aaaaaa")}
        assert (held := await info(cluster)).data == {"kubeconfig": "first", "note": "kept", **wanted}
        await cluster.sleep(200)
        assert (await info(cluster)).metadata.resourceVersion == held.metadata.resourceVersion, "nothing to write"
        await cluster.sleep(100)
        assert not await cluster.exists(core.Secret, "bootstrap-token-aaaaaa", namespace="kube-system")
        held = await info(cluster)
        assert "jws-kubeconfig-aaaaaa" not in held.data and "jws-kubeconfig-abcdef" in held.data
        held.data["kubeconfig"] = "second"
        await client.update(held)
        await cluster.sleep(1)
        assert (await info(cluster)).data["jws-kubeconfig-abcdef"] == detached_signature("second", "abcdef", SECRET)

    knarr_cluster.run(scenario, **QUIET)


def test_a_token_goes_when_its_time_is_over_and_not_before(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for made in (
            token(cluster, "aaaaaa", lasts_s=3600),
            token(cluster, "bbbbbb"),
            token(cluster, "cccccc", expiration="some day"),
            token(cluster, "dddddd", lasts_s=60),
        ):
            await cluster.client.create(made)
        other = core.Secret(metadata=meta.ObjectMeta(name="x", namespace="kube-system"), data=token(cluster, "x", lasts_s=1).data)
        await cluster.client.create(other)
        # Its owner gives it more time.
        longer = token(cluster, "dddddd", lasts_s=7200)
        longer.metadata.resourceVersion = ""
        await cluster.client.update(longer)

        async def held() -> set[str]:
            found = await cluster.client.list(core.Secret, namespace="kube-system")
            return {each.metadata.name.removeprefix("bootstrap-token-") for each in found}

        await cluster.sleep(3590)
        assert await held() == {"aaaaaa", "bbbbbb", "dddddd", "x"}
        await cluster.sleep(20)
        assert await held() == {"bbbbbb", "dddddd", "x"}

    knarr_cluster.run(scenario, **QUIET)
