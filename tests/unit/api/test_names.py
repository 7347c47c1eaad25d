"""Names: the texts users see most often when something is refused."""

import pytest

from knarr.api import names

LABEL_PROBLEM = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
    "start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN_PROBLEM = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
DNS1035_PROBLEM = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_VALUE_PROBLEM = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex "
    "used for validation "
    "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
NAME_PART_PROBLEM = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


@pytest.mark.parametrize("text", ["a", "a-b", "1", "a1-2b", "a" * 63])
def test_labels(text):
    assert names.dns1123_label(text) == []


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a.b", "a_b", "ä", "a\n"])
def test_what_is_no_label(text):
    assert names.dns1123_label(text) == [LABEL_PROBLEM]


def test_a_long_label():
    assert names.dns1123_label("a" * 64) == ["must be no more than 63 bytes"]


def test_subdomains():
    assert names.dns1123_subdomain("a.b-c.1") == []
    assert names.dns1123_subdomain("a..b") == [SUBDOMAIN_PROBLEM]
    assert names.dns1123_subdomain("a" * 254) == ["must be no more than 253 bytes"]


def test_service_names_do_not_begin_with_a_digit():
    assert names.dns1035_label("a1") == []
    assert names.dns1035_label("1a") == [DNS1035_PROBLEM]


def test_qualified_names():
    for good in ("a", "A.b_c-1", "example.com/a", "k8s.io/My.Name"):
        assert names.qualified_name(good) == []
    assert names.qualified_name("example.com/-a") == [NAME_PART_PROBLEM]
    assert names.qualified_name("/a") == ["prefix part must be non-empty"]
    assert names.qualified_name("Example/a") == [f"prefix part {SUBDOMAIN_PROBLEM}"]
    assert names.qualified_name("a/b/c") != []
    assert names.qualified_name("") == ["name part must be non-empty", NAME_PART_PROBLEM]


def test_label_values():
    assert names.label_value("") == names.label_value("A_b.1") == []
    assert names.label_value("a b") == [LABEL_VALUE_PROBLEM]


def test_ports():
    assert names.port_name("http-1") == []
    assert names.port_name("1") == ["must contain at least one letter (a-z)"]
    assert names.port_name("a--b") == ["must not contain consecutive hyphens"]
    assert names.port_name("a" * 16) == ["must be no more than 15 bytes"]
    assert names.port_number(0) == ["must be between 1 and 65535, inclusive"]


def test_keys_paths_variables_addresses():
    assert names.config_map_key("a.B-c_1") == []
    assert names.config_map_key("..a") == ["must not start with '..'"]
    assert names.config_map_key("a/b") != []
    assert names.path_segment("system:node") == []
    assert names.path_segment("a/b%") == ["may not contain '/'", "may not contain '%'"]
    assert names.env_var_name("my-var.1") == []
    assert names.env_var_name("a=b") != []
    assert names.ip_address("::1") == []
    assert names.ip_address("1.2.3") == ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
