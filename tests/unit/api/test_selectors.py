"""Selectors: which objects a list, a service or a controller takes for its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api import selectors
from knarr.api.meta import v1 as meta

LABELS = {"app": "web", "tier": "front", "size": "5"}
MATCHING = [
    "",
    "app=web",
    "app==web",
    "app!=db",
    "app in (web,db)",
    "tier notin (back)",
    "app",
    "!gone",
    "size>4",
    "size<6",
]
FAILING = [
    "app=db",
    "app!=web",
    "app in (db)",
    "app notin (web)",
    "gone",
    "!app",
    "size>5",
    "size<5",
    "app>1",
    "gone>1",
]


@pytest.mark.parametrize("text", [*MATCHING, "gone!=x", "gone notin (x)", "app=web, tier = front ,!gone"])
def test_these_take_the_object(text):
    assert selectors.parse_labels(text).matches(LABELS)


@pytest.mark.parametrize("text", [*FAILING, "app=web,tier=back"])
def test_these_leave_it(text):
    assert not selectors.parse_labels(text).matches(LABELS)


def test_the_canonical_text_is_sorted():
    assert str(selectors.parse_labels("z=1,a in (c,b),!m,k")) == "a in (b,c),k,!m,z=1"


@pytest.mark.parametrize(
    "text", ["=a", "a=b=c", "a in b", "a in (b", "a b", ",a", "a,,b", "a!b", "a in ()", "-a=b", "a=-", "!"]
)
def test_what_is_no_selector_is_refused(text):
    with pytest.raises(selectors.SelectorError):
        selectors.parse_labels(text)


def test_the_error_is_upstreams():
    with pytest.raises(
        selectors.SelectorError, match="unable to parse requirement: found 'b', expected: '\\('"
    ):
        selectors.parse_labels("a in b")


def test_no_selector_takes_nothing_and_an_empty_one_everything():
    assert not selectors.from_label_selector(None).matches(LABELS)
    assert selectors.from_label_selector(meta.LabelSelector()).matches(LABELS)
    assert selectors.from_label_selector(meta.LabelSelector()).empty


def test_the_structured_form():
    expression = meta.LabelSelectorRequirement(key="tier", operator="In", values=["front", "back"])
    selector = selectors.from_label_selector(
        meta.LabelSelector(matchLabels={"app": "web"}, matchExpressions=[expression])
    )
    assert selector.matches(LABELS)
    assert not selector.matches({"app": "web"})
    assert str(selector) == "app=web,tier in (back,front)"
    assert selector.required_value("app") == "web"


def test_an_unknown_operator_is_refused():
    expression = meta.LabelSelectorRequirement(key="a", operator="Like")
    with pytest.raises(selectors.SelectorError, match='"Like" is not a valid label selector operator'):
        selectors.from_label_selector(meta.LabelSelector(matchExpressions=[expression]))


def test_fields():
    selector = selectors.parse_fields("spec.nodeName=n1,status.phase!=Running")
    assert selector.matches({"spec.nodeName": "n1", "status.phase": "Pending"})
    assert not selector.matches({"spec.nodeName": "n1", "status.phase": "Running"})
    assert selector.required_value("spec.nodeName") == "n1"
    assert str(selector) == "spec.nodeName=n1,status.phase!=Running"


def test_a_field_value_may_hold_what_separates_terms():
    selector = selectors.parse_fields(r"metadata.name=a\,b\=c")
    assert selector.matches({"metadata.name": "a,b=c"})
    assert str(selector) == r"metadata.name=a\,b\=c"


def test_half_a_field_selector_is_refused():
    with pytest.raises(selectors.SelectorError, match="invalid selector: 'a'; can't understand 'a'"):
        selectors.parse_fields("a")


WORDS = st.from_regex(r"[a-z]([a-z0-9]{0,5})", fullmatch=True).filter(lambda w: w not in ("in", "notin"))


@given(st.dictionaries(WORDS, WORDS, max_size=4), st.dictionaries(WORDS, WORDS, max_size=4))
def test_equalities_take_exactly_the_supersets(wanted, labels):
    selector = selectors.from_map(wanted)
    assert selector.matches(labels) == (wanted.items() <= labels.items())
    assert selectors.parse_labels(str(selector)) == selector


@given(st.text(max_size=30))
def test_any_text_is_either_a_selector_or_refused(text):
    for parse in (selectors.parse_labels, selectors.parse_fields):
        try:
            parse(text)
        except selectors.SelectorError:
            pass


WORD = st.from_regex(r"[a-z]([a-z0-9]{0,3})", fullmatch=True).filter(lambda w: w not in ("in", "notin"))
FEW = st.sampled_from(["a", "b", "c"])
REQUIREMENTS = st.one_of(
    st.builds(lambda key, value: (f"{key}={value}", lambda labels: labels.get(key) == value), FEW, WORD),
    st.builds(lambda key, value: (f"{key}!={value}", lambda labels: labels.get(key) != value), FEW, WORD),
    st.builds(
        lambda key, values: (f"{key} in ({','.join(values)})", lambda labels: labels.get(key) in values),
        FEW,
        st.lists(WORD, min_size=1, max_size=3),
    ),
    st.builds(
        lambda key, values: (f"{key} notin ({','.join(values)})", lambda labels: labels.get(key) not in values),
        FEW,
        st.lists(WORD, min_size=1, max_size=3),
    ),
    st.builds(lambda key: (key, lambda labels: key in labels), FEW),
    st.builds(lambda key: (f"!{key}", lambda labels: key not in labels), FEW),
    st.builds(
        lambda key, bound: (f"{key}>{bound}", lambda labels: labels.get(key, "").isdecimal() and int(labels[key]) > bound),
        FEW,
        st.integers(0, 3),
    ),
)


@given(st.lists(REQUIREMENTS, min_size=1, max_size=3), st.dictionaries(FEW, WORD | st.sampled_from(["0", "1", "2", "9"]), max_size=3))
def test_a_selector_means_what_its_requirements_say_and_prints_what_it_means(requirements, labels):
    selector = selectors.parse_labels(",".join(text for text, _ in requirements))
    assert selector.matches(labels) == all(means(labels) for _, means in requirements)
    printed = selectors.parse_labels(str(selector))
    assert printed == selector and str(printed) == str(selector)
    assert printed.matches(labels) == selector.matches(labels)


ANY_VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


@given(st.lists(st.tuples(st.sampled_from(["metadata.name", "spec.x"]), st.booleans(), ANY_VALUE), min_size=1, max_size=3))
def test_a_field_selector_survives_printing_whatever_its_values_hold(terms):
    selector = selectors.FieldSelector(
        selectors.FieldTerm(field, value, negated) for field, negated, value in terms
    )
    printed = selectors.parse_fields(str(selector))
    assert str(printed) == str(selector)
    for fields in ({"metadata.name": terms[0][2], "spec.x": ""}, {"metadata.name": "", "spec.x": terms[-1][2]}):
        expected = all((fields[field] == value) != negated for field, negated, value in terms)
        assert printed.matches(fields) == selector.matches(fields) == expected
