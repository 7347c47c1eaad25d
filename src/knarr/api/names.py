"""What a name may look like, with upstream's words for what is wrong.

Every function takes a text and returns the faults as a list of messages, empty if there are none; the caller
knows the field and makes ``FieldError`` of them. Each message ends with the regular expression it was judged
by.

Counterpart upstream: ``apimachinery/pkg/util/validation``. Neighbours: ``validation`` and the
``<group>/validation`` modules.
"""

from __future__ import annotations

import ipaddress
import re

__all__ = [
    "config_map_key",
    "dns1035_label",
    "dns1123_label",
    "dns1123_subdomain",
    "env_var_name",
    "http_path_problem",
    "ip_address",
    "label_value",
    "path_segment",
    "port_name",
    "port_number",
    "qualified_name",
    "wildcard_dns1123_subdomain",
]

LABEL_MAX = 63
SUBDOMAIN_MAX = 253
PORT_NAME_MAX = 15
LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = LABEL + r"(\." + LABEL + ")*"
DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
LABEL_VALUE = f"({QUALIFIED})?"
CONFIG_KEY = "[-._a-zA-Z0-9]+"
WILDCARD = r"\*\." + SUBDOMAIN
LABEL_RE, SUBDOMAIN_RE, DNS1035_RE = re.compile(LABEL), re.compile(SUBDOMAIN), re.compile(DNS1035)
QUALIFIED_RE, CONFIG_KEY_RE = re.compile(QUALIFIED), re.compile(CONFIG_KEY)
WILDCARD_RE = re.compile(WILDCARD)
ENV_VAR_RE = re.compile(r"[ -<>-~]+")
PORT_NAME_RE = re.compile(r"[-a-z0-9]+")

LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
    "start and end with an alphanumeric character"
)
SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and"
    " must start and end with an alphanumeric character"
)
DNS1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character"
)
QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character"
)
LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
    "must start and end with an alphanumeric character"
)
CONFIG_KEY_TEXT = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must "
    "consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)


def regex_problem(text: str, pattern: str, *examples: str) -> str:
    """A message with its examples and its pattern, spaced as upstream spaces it."""
    if not examples:
        return f"{text} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{text} (e.g. {shown}regex used for validation is '{pattern}')"


# Made once: names are judged far more often than they are found wanting.
LABEL_PROBLEM = regex_problem(LABEL_TEXT, LABEL, "my-name", "123-abc")
SUBDOMAIN_PROBLEM = regex_problem(SUBDOMAIN_TEXT, SUBDOMAIN, "example.com")
DNS1035_PROBLEM = regex_problem(DNS1035_TEXT, DNS1035, "my-name", "abc-123")
WILDCARD_PROBLEM = regex_problem(WILDCARD_TEXT, WILDCARD, "*.example.com")


def too_long(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def _judge(text: str, matcher: re.Pattern[str], *, limit: int, problem: str) -> list[str]:
    faults = [too_long(limit)] if len(text) > limit else []
    if matcher.fullmatch(text) is None:
        faults.append(problem)
    return faults


def dns1123_label(text: str) -> list[str]:
    """``my-name``: names of namespaces, containers, volumes."""
    return _judge(text, LABEL_RE, limit=LABEL_MAX, problem=LABEL_PROBLEM)


def dns1123_subdomain(text: str) -> list[str]:
    """``example.com``: names of most objects."""
    return _judge(text, SUBDOMAIN_RE, limit=SUBDOMAIN_MAX, problem=SUBDOMAIN_PROBLEM)


def dns1035_label(text: str) -> list[str]:
    """``my-name``, not beginning with a digit: names of services."""
    return _judge(text, DNS1035_RE, limit=LABEL_MAX, problem=DNS1035_PROBLEM)


def wildcard_dns1123_subdomain(text: str) -> list[str]:
    """``*.example.com``: hosts of ingresses."""
    return _judge(text, WILDCARD_RE, limit=SUBDOMAIN_MAX, problem=WILDCARD_PROBLEM)


def qualified_name(text: str) -> list[str]:
    """``name`` or ``example.com/name``: keys of labels and annotations, resource names, finalizers."""
    prefix, slash, name = text.rpartition("/")
    if text.count("/") > 1:
        sentence = f"a qualified name {QUALIFIED_TEXT}"
        shown = regex_problem(sentence, QUALIFIED, "MyName", "my.name", "123-abc")
        return [f"{shown} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    faults: list[str] = []
    if slash and not prefix:
        faults.append("prefix part must be non-empty")
    elif slash:
        faults += [f"prefix part {fault}" for fault in dns1123_subdomain(prefix)]
    if not name:
        faults.append("name part must be non-empty")
    elif len(name) > LABEL_MAX:
        faults.append(f"name part {too_long(LABEL_MAX)}")
    if QUALIFIED_RE.fullmatch(name) is None:
        shown = regex_problem(QUALIFIED_TEXT, QUALIFIED, "MyName", "my.name", "123-abc")
        faults.append(f"name part {shown}")
    return faults


def label_value(text: str) -> list[str]:
    """The value of a label; may be empty."""
    faults = [too_long(LABEL_MAX)] if len(text) > LABEL_MAX else []
    if text and QUALIFIED_RE.fullmatch(text) is None:
        faults.append(regex_problem(LABEL_VALUE_TEXT, LABEL_VALUE, "MyValue", "my_value", "12345"))
    return faults


def config_map_key(text: str) -> list[str]:
    """A key of a ConfigMap or Secret: a file name that leads nowhere else."""
    faults = [too_long(SUBDOMAIN_MAX)] if len(text) > SUBDOMAIN_MAX else []
    if CONFIG_KEY_RE.fullmatch(text) is None:
        faults.append(regex_problem(CONFIG_KEY_TEXT, CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if text in (".", ".."):
        faults.append(f"must not be '{text}'")
    elif text.startswith(".."):
        faults.append("must not start with '..'")
    return faults


def env_var_name(text: str) -> list[str]:
    """The name of an environment variable, in the relaxed form."""
    if not text:
        return ["environment variable name must be at least 1 character"]
    if ENV_VAR_RE.fullmatch(text) is None:
        return [
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        ]
    return []


def path_segment(text: str) -> list[str]:
    """A name that is safe as one segment of a URL path: RBAC objects and other system names."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in text]


def port_name(text: str) -> list[str]:
    """``http``, ``my-port``: an IANA service name."""
    faults = []
    if len(text) > PORT_NAME_MAX:
        faults.append(too_long(PORT_NAME_MAX))
    if PORT_NAME_RE.fullmatch(text) is None:
        faults.append("must contain only alphanumeric characters (a-z, 0-9), and hyphens (-)")
    if not any(char.isalpha() and char.islower() for char in text):
        faults.append("must contain at least one letter (a-z)")
    if "--" in text:
        faults.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        faults.append("must not begin or end with a hyphen")
    return faults


def port_number(port: int) -> list[str]:
    return [] if 1 <= port <= 65535 else ["must be between 1 and 65535, inclusive"]


def ip_address(text: str) -> list[str]:
    """An address of either family, without a zone."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return [] if "%" not in text else ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]


def http_path_problem(text: str) -> str:
    """Why a path is no absolute path; empty if it is one."""
    return "" if text.startswith("/") else "must be an absolute path"
