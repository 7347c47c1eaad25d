"""A patch of a part gives what the same patch of the whole gives."""

from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.strategic import strategic_merge
from knarr.apiserver.patching import MERGE_PATCH, STRATEGIC_PATCH, patched

TEXT = st.sampled_from(["a", "b", "c"])
MAPS = st.dictionaries(TEXT, TEXT, max_size=3)
CONDITIONS = st.lists(
    st.fixed_dictionaries({"type": TEXT, "status": st.sampled_from(["True", "False"])}), max_size=3, unique_by=lambda each: each["type"]
)
CONTAINERS = st.lists(st.fixed_dictionaries({"name": TEXT, "image": TEXT}), max_size=3, unique_by=lambda each: each["name"])
PARTS = {
    "metadata": st.fixed_dictionaries({}, optional={"labels": MAPS, "annotations": MAPS, "finalizers": st.lists(TEXT, unique=True, max_size=3)}),
    "spec": st.fixed_dictionaries({"containers": CONTAINERS}, optional={"nodeName": TEXT, "nodeSelector": MAPS}),
    "status": st.fixed_dictionaries({}, optional={"phase": TEXT, "conditions": CONDITIONS, "podIPs": st.lists(st.fixed_dictionaries({"ip": TEXT}), max_size=2)}),
}
PODS = st.fixed_dictionaries(PARTS)
PATCHES = st.fixed_dictionaries({}, optional={name: st.none() | part for name, part in PARTS.items()})


@given(PODS, PATCHES, st.sampled_from([MERGE_PATCH, STRATEGIC_PATCH]))
def test_parts_that_a_patch_does_not_name_stay_and_the_others_are_merged_as_in_the_whole(pod, patch, kind):
    before = deepcopy((pod, patch))
    current = codec.decode(core.Pod, pod)
    whole = codec.to_dict(current)
    if kind == STRATEGIC_PATCH:
        expected = strategic_merge(whole, patch, core.Pod)
    else:
        # Only what both ways share is left out: the type of the field.
        expected = {**whole, **{name: merged(whole.get(name), value) for name, value in patch.items()}}
        expected = {name: value for name, value in expected.items() if value is not None}
    _, obj = patched(current, kind, patch)
    assert obj == codec.decode(core.Pod, expected)
    assert (pod, patch) == before, "a patch may be tried again"


def merged(old, new):
    if not isinstance(new, dict):
        return new
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        result.pop(key, None)
        if value is not None:
            result[key] = merged((old or {}).get(key), value)
    return result
