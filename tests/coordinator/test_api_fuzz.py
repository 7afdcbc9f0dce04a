"""Whatever is sent to the REST API, it answers as its own document says and never with a server error."""

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from coordinator.app import create_app
from coordinator.auth import issue

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_every_operation_keeps_to_its_document(coordinator):
    app = create_app(coordinator)
    tokens = {role: issue(coordinator.store, role, role) for role in ("researcher", "operator")}
    operations = [
        found.ok() for found in schemathesis.openapi.from_asgi("/api/v1/openapi.json", app).get_all_operations()
    ]
    assert len(operations) == 22
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        def keeps_to_its_document(case):
            brings = case.path.removeprefix("/api/v1/") in ("cohorts/{name}", "cohorts", "roster", "permits")
            operates = (brings and case.method != "GET") or case.path == "/api/v1/audit"
            token = tokens["operator" if operates else "researcher"]
            case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)

        keeps_to_its_document()
