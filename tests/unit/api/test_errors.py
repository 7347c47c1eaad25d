"""Status errors: code, reason, message and details, as programs match on them."""

from knarr.api import codec, errors


def test_not_found():
    error = errors.not_found("apps", "deployments", "web")
    assert codec.to_dict(error.status) == {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": 'deployments.apps "web" not found',
        "reason": "NotFound",
        "details": {"name": "web", "group": "apps", "kind": "deployments"},
        "code": 404,
    }


def test_invalid_lists_every_cause():
    faults = [errors.required("spec.a"), errors.invalid_value("spec.b", -1, "must be more")]
    error = errors.invalid("", "Pod", "web", faults)
    assert str(error) == (
        'Pod "web" is invalid: [spec.a: Required value, spec.b: Invalid value: -1: must be more]'
    )
    assert (error.code, error.reason) == (422, "Invalid")
    assert codec.to_dict(error.status.details)["causes"] == [
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.a"},
        {"reason": "FieldValueInvalid", "message": "Invalid value: -1: must be more", "field": "spec.b"},
    ]


def test_one_cause_stands_alone():
    error = errors.invalid("apps", "Deployment", "w", [errors.required("spec.selector")])
    assert str(error) == 'Deployment.apps "w" is invalid: spec.selector: Required value'


def test_texts_of_field_errors():
    assert str(errors.not_supported("a", "x", ["c", "b"])) == (
        'a: Unsupported value: "x": supported values: "b", "c"'
    )
    assert str(errors.duplicate("a", "x")) == 'a: Duplicate value: "x"'
    assert str(errors.invalid_value("a", {"b": "c"})) == 'a: Invalid value: {"b":"c"}'
    assert str(errors.invalid_value("a", None, "no")) == 'a: Invalid value: "null": no'
    assert str(errors.invalid_value("a", True)) == "a: Invalid value: true"
    assert str(errors.too_long("a", 10)) == "a: Too long: may not be more than 10 bytes"
    assert str(errors.too_many("a", 3, 2)) == "a: Too many: 3: must have at most 2 items"
    assert str(errors.field_forbidden("a", "no")) == "a: Forbidden: no"
    assert str(errors.value_not_found("a", "x")) == 'a: Not found: "x"'


def test_the_other_answers():
    expected = [
        (errors.already_exists("", "pods", "a"), 409, "AlreadyExists", 'pods "a" already exists'),
        (
            errors.conflict("", "pods", "a"),
            409,
            "Conflict",
            'Operation cannot be fulfilled on pods "a": the object has been modified; '
            "please apply your changes to the latest version and try again",
        ),
        (errors.forbidden("", "pods", "", "no"), 403, "Forbidden", "pods is forbidden: no"),
        (errors.forbidden("", "pods", "a", "no"), 403, "Forbidden", 'pods "a" is forbidden: no'),
        (errors.unauthorized(), 401, "Unauthorized", "Unauthorized"),
        (
            errors.method_not_allowed("", "pods", "create"),
            405,
            "MethodNotAllowed",
            'create is not supported on resources of kind "pods"',
        ),
        (errors.internal_error("x"), 500, "InternalError", "Internal error occurred: x"),
        (errors.path_not_found(), 404, "NotFound", "the server could not find the requested resource"),
        (errors.expired(), 410, "Expired", "The resourceVersion for the provided watch is too old."),
        (errors.timeout("x"), 504, "Timeout", "Timeout: x"),
        (errors.bad_request("x"), 400, "BadRequest", "x"),
        (errors.request_entity_too_large("x"), 413, "RequestEntityTooLarge", "Request entity too large: x"),
    ]
    for error, code, reason, message in expected:
        assert (error.code, error.reason, str(error)) == (code, reason, message)


def test_try_again_says_when():
    error = errors.too_many_requests("slow down", retry_after_s=7)
    assert error.status.details.retryAfterSeconds == 7
