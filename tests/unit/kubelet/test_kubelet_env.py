"""A container's environment: values, references, services, in upstream's order and with upstream's
complaints.
"""

from __future__ import annotations

import base64

import pytest
from unit_kubelet import container, pod

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.kubelet.env import EnvironmentFault, Sources, make_environment, references
from knarr.kubelet.expansion import expand
from knarr.kubelet.fields import PodFacts, field_value, format_map, resource_value

FACTS = PodFacts(("10.1.0.2", "fd00::2"), ("192.168.0.1",), (("cpu", "4"), ("memory", "8Gi")))


def service(
    name: str, address: str = "10.96.0.7", *, namespace: str = "default", **fields: object
) -> core.Service:
    ports = [core.ServicePort(name="web", port=80), core.ServicePort(name="dns", port=53, protocol="UDP")]
    spec = core.ServiceSpec(clusterIP=address, ports=ports, **fields)  # type: ignore[arg-type]
    return core.Service(metadata=meta.ObjectMeta(name=name, namespace=namespace), spec=spec)


def environment(
    *variables: core.EnvVar,
    sources: Sources | None = None,
    services: list[core.Service] | None = None,
    env_from: list[core.EnvFromSource] | None = None,
    **spec: object,
) -> dict[str, str]:
    main = container(env=list(variables), envFrom=env_from or [])
    return make_environment(
        pod(main, **spec), main, services=services or [], sources=sources or Sources(), facts=FACTS
    )


def from_config(name: str, key: str, *, optional: bool | None = None) -> core.EnvVar:
    selector = core.ConfigMapKeySelector(name="settings", key=key, optional=optional)
    return core.EnvVar(name=name, valueFrom=core.EnvVarSource(configMapKeyRef=selector))


SETTINGS = Sources(
    {"settings": core.ConfigMap(data={"a": "1", "b": "$(A)"})},
    {"secret": core.Secret(data={"pw": base64.b64encode(b"s3").decode()})},
)


def test_a_reference_is_replaced_and_an_unknown_one_stays_as_written() -> None:
    assert expand("$(A)-$(B)-$$(A)-$A-$", {"A": "1"}) == "1-$(B)-$(A)-$A-$"


def test_later_variables_see_earlier_ones_and_win_over_them() -> None:
    result = environment(
        core.EnvVar(name="A", value="1"),
        core.EnvVar(name="B", value="<$(A)>"),
        core.EnvVar(name="A", value="2"),
    )
    assert result == {"A": "2", "B": "<1>"}


def test_values_of_config_maps_and_secrets_are_taken_as_they_are() -> None:
    secret = core.EnvVarSource(secretKeyRef=core.SecretKeySelector(name="secret", key="pw"))
    result = environment(
        from_config("A", "a"),
        from_config("B", "b"),
        core.EnvVar(name="P", valueFrom=secret),
        sources=SETTINGS,
    )
    assert result == {"A": "1", "B": "$(A)", "P": "s3"}


def test_all_of_a_config_map_comes_with_its_prefix_and_gives_way_to_single_variables() -> None:
    source = core.EnvFromSource(prefix="P_", configMapRef=core.ConfigMapEnvSource(name="settings"))
    assert environment(core.EnvVar(name="P_a", value="own"), env_from=[source], sources=SETTINGS) == {
        "P_a": "own",
        "P_b": "$(A)",
    }


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        (from_config("A", "zzz"), "couldn't find key zzz in ConfigMap default/settings"),
        (
            core.EnvVar(
                name="A",
                valueFrom=core.EnvVarSource(secretKeyRef=core.SecretKeySelector(name="none", key="k")),
            ),
            'secret "none" not found',
        ),
    ],
)
def test_what_is_missing_is_named(variable: core.EnvVar, message: str) -> None:
    with pytest.raises(EnvironmentFault, match=message):
        environment(variable, sources=SETTINGS)


def test_what_is_optional_may_be_missing() -> None:
    assert environment(from_config("A", "zzz", optional=True), sources=SETTINGS) == {}
    source = core.EnvFromSource(configMapRef=core.ConfigMapEnvSource(name="none", optional=True))
    assert environment(env_from=[source]) == {}


def test_services_are_told_as_docker_links_were() -> None:
    result = environment(services=[service("my-svc")])
    assert result["MY_SVC_SERVICE_HOST"] == "10.96.0.7"
    assert result["MY_SVC_SERVICE_PORT"] == "80" and result["MY_SVC_SERVICE_PORT_DNS"] == "53"
    assert result["MY_SVC_PORT"] == result["MY_SVC_PORT_80_TCP"] == "tcp://10.96.0.7:80"
    assert result["MY_SVC_PORT_53_UDP_PROTO"] == "udp"


def test_only_the_api_servers_service_is_told_to_pods_that_want_no_links() -> None:
    services = [
        service("kubernetes", "10.96.0.1"),
        service("other"),
        service("headless", "None"),
        service("far", namespace="x"),
    ]
    told = {
        name for name in environment(services=services, enableServiceLinks=False) if name.endswith("_HOST")
    }
    assert told == {"KUBERNETES_SERVICE_HOST"}
    told = {name for name in environment(services=services) if name.endswith("_HOST")}
    assert told == {"KUBERNETES_SERVICE_HOST", "OTHER_SERVICE_HOST"}


def test_a_variable_of_ones_own_wins_over_a_services() -> None:
    result = environment(core.EnvVar(name="OTHER_SERVICE_HOST", value="mine"), services=[service("other")])
    assert result["OTHER_SERVICE_HOST"] == "mine"


def test_needed_objects_are_named_before_they_are_fetched() -> None:
    main = container(
        env=[from_config("A", "a")],
        envFrom=[core.EnvFromSource(secretRef=core.SecretEnvSource(name="s"))],
    )
    assert references(main) == ({"settings"}, {"s"})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"),
        ("metadata.labels['app']", "x"),
        ("metadata.annotations['none']", ""),
        ("status.podIPs", "10.1.0.2,fd00::2"),
        ("status.hostIP", "192.168.0.1"),
    ],
)
def test_a_pod_learns_about_itself(path: str, value: str) -> None:
    assert field_value(pod(labels={"app": "x"}), path, FACTS) == value


def test_maps_are_written_one_quoted_pair_a_line() -> None:
    assert format_map({"b": 'say "hi"\n', "a": "ä"}) == 'a="ä"\nb="say \\"hi\\"\\n"'


def test_amounts_are_told_in_the_unit_that_was_asked_for() -> None:
    main = container(resources=core.ResourceRequirements(limits={"cpu": "1500m", "memory": "100Mi"}))  # type: ignore[dict-item]

    def told(resource: str, divisor: str) -> str:
        selector = core.ResourceFieldSelector(resource=resource, divisor=divisor)  # type: ignore[arg-type]
        return resource_value(pod(main), selector, main, FACTS)

    assert told("limits.cpu", "1") == "2"
    assert told("limits.cpu", "1m") == "1500"
    assert told("limits.memory", "1Mi") == "100"
    assert told("requests.cpu", "1m") == "1500"
    assert told("limits.ephemeral-storage", "1") == "0"
