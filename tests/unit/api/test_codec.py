"""Bodies in, bodies out:

what a client sends is what it gets back, and what is wrong is said with its path.
"""

import pytest

from knarr.api import codec, scheme, strict
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core

RESOURCES = scheme.all_resources()


@pytest.mark.parametrize("resource", RESOURCES, ids=repr)
def test_every_kind_survives_a_round_trip(resource):
    obj = resource.type()
    assert codec.decode(resource.type, codec.encode(obj)) == obj
    assert codec.from_dict(resource.type, codec.to_dict(obj)) == obj
    assert codec.to_dict(obj)["kind"] == resource.kind
    assert codec.to_dict(obj)["apiVersion"] == resource.api_version


def test_an_object_begins_with_its_identity_as_upstreams_does():
    data = codec.encode(core.Pod(metadata=core.meta.ObjectMeta(name="web")))
    assert data == (
        b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[]},"status":{}}'
    )


def test_zero_is_left_out_by_value_and_written_by_pointer():
    spec = codec.to_dict(apps.Deployment(spec=apps.DeploymentSpec(replicas=0, minReadySeconds=0)))["spec"]
    assert spec["replicas"] == 0
    assert "minReadySeconds" not in spec


def test_amounts_become_canonical_when_read():
    body = {
        "spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]}
    }
    pod = codec.decode(core.Pod, codec.encode(body))
    assert pod.spec.containers[0].resources.limits == {"cpu": "500m", "memory": "1Gi"}


def test_null_counts_as_absent_where_go_has_no_pointer():
    body = b'{"metadata":{"name":"a","labels":null,"creationTimestamp":null},"spec":{"containers":null}}'
    pod = codec.decode(core.Pod, body)
    assert (pod.metadata.name, pod.metadata.labels, pod.spec.containers) == ("a", {}, [])


def test_null_survives_inside_free_form_data():
    body = b'{"metadata":{"labels":null},"revision":1,"data":{"spec":{"x":null}}}'
    assert codec.decode(apps.ControllerRevision, body).data == {"spec": {"x": None}}


def test_schemas_of_custom_resources_keep_their_odd_names():
    schema = {"$ref": "#/x", "x-kubernetes-int-or-string": True, "not": {"type": "string"}, "items": [{}]}
    props = codec.from_dict(apiextensions.JSONSchemaProps, schema)
    assert props.xKubernetesIntOrString
    assert codec.to_dict(props) == schema


def test_a_copy_shares_nothing():
    pod = core.Pod(metadata=core.meta.ObjectMeta(labels={"a": "b"}))
    twin = codec.copy(pod)
    twin.metadata.labels["a"] = "c"
    assert pod.metadata.labels == {"a": "b"}


FAULTS = [
    (
        {"spec": {"replicas": "x"}},
        "spec.replicas",
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
    ),
    (
        {"spec": {"replicas": 2**40}},
        "spec.replicas",
        "json: cannot unmarshal number 1099511627776 into Go struct field DeploymentSpec.spec.replicas "
        "of type int32",
    ),
    (
        {"spec": {"template": {"spec": {"containers": [{"image": 1}]}}}},
        "spec.template.spec.containers[0].image",
        "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image "
        "of type string",
    ),
    (
        {"spec": {"template": {"spec": {"containers": {}}}}},
        "spec.template.spec.containers",
        "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers "
        "of type []v1.Container",
    ),
    ([], "", "json: cannot unmarshal array into Go value of type v1.Deployment"),
]


@pytest.mark.parametrize(("body", "path", "text"), FAULTS, ids=[fault[1] or "whole" for fault in FAULTS])
def test_a_wrong_type_is_named_with_its_field(body, path, text):
    with pytest.raises(codec.DecodeError) as caught:
        codec.decode(apps.Deployment, codec.encode(body))
    assert (caught.value.path, str(caught.value)) == (path, text)


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":', b"\xff\xfe", b"nul", b"[" * 100_000])
def test_malformed_bytes_are_an_error_and_nothing_else(body):
    with pytest.raises(codec.DecodeError):
        codec.decode(core.Pod, body)
    with pytest.raises(codec.DecodeError):
        codec.parse_json(body)
    with pytest.raises(codec.DecodeError):
        strict.strict_errors(core.Pod, body)


@pytest.mark.parametrize(
    "moment", ["", "x", "2026-13-01T00:00:00Z", "2026-02-31T00:00:00Z", "9999-12-31T23:59:59-12:00"]
)
def test_a_moment_that_is_none_is_refused_with_its_path(moment):
    body = {"status": {"conditions": [{"type": "Ready", "lastTransitionTime": moment}]}}
    with pytest.raises(codec.DecodeError) as caught:
        codec.settle_moments(codec.from_dict(core.Pod, body))
    assert caught.value.path == "status.conditions[0].lastTransitionTime"
    assert caught.value.text.startswith(f'parsing time "{moment}"')


def test_moments_of_every_form_are_kept_in_utc_as_their_kind_is_written():
    for moment in ("2026-01-01T03:00:00Z", "2026-01-01T03:00:00.123456Z", "2026-01-01T04:00:00+01:00", "2026-01-01T3:00:00Z"):
        pod = codec.from_dict(core.Pod, {"metadata": {"creationTimestamp": moment}})
        codec.settle_moments(pod)
        assert pod.metadata.creationTimestamp == "2026-01-01T03:00:00Z"
    event = core.Event(eventTime="2026-01-01T04:00:00.123456+01:00")
    codec.settle_moments(event)
    assert event.eventTime == "2026-01-01T03:00:00.123456Z"


def test_a_moment_too_short_for_any_is_refused_in_the_words_of_its_own_kind():
    for field, layout in (("firstTimestamp", ""), ("eventTime", ".000000")):
        with pytest.raises(codec.DecodeError) as caught:
            codec.from_dict(core.Event, {field: "noon"})
        assert caught.value.text == f'parsing time "noon" as "2006-01-02T15:04:05{layout}Z07:00": cannot parse "noon" as "2006"'


def test_strict_validation_finds_unknown_and_duplicate_fields():
    body = b'{"spec":{"containers":[{"foo":1}],"bar":1,"bar":2,"nodeSelector":{"any":"thing"}}}'
    assert strict.strict_errors(core.Pod, body) == [
        'unknown field "spec.containers[0].foo"',
        'unknown field "spec.bar"',
    ]


def test_faults_of_fields_are_told_in_the_order_they_stand():
    body = b'{"spec":{"foo":1,"nodeName":"a","nodeName":"b","bar":1}}'
    assert strict.strict_errors(core.Pod, body) == [
        'unknown field "spec.foo"',
        'duplicate field "spec.nodeName"',
        'unknown field "spec.bar"',
    ]


def test_a_body_without_the_name_of_a_moment_is_not_walked_and_one_with_escapes_is():
    bad = b'{"status":{"conditions":[{"type":"Ready","lastTransitionTime":"yesterday, about noon"}]}}'
    for body in (bad, bad.replace(b"lastT", b"last\\u0054")):
        with pytest.raises(codec.DecodeError):
            codec.settle_moments(codec.decode(core.Pod, body), body)
    plain = b'{"metadata":{"name":"web"}}'
    codec.settle_moments(codec.decode(core.Pod, plain), plain)
