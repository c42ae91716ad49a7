"""What OpenAPI says of the server is what it takes, gives and refuses: schemathesis tries."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.searchers import running, small_searcher

CHECKS = ",".join((
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_schema_conformance", "response_headers_conformance", "negative_data_rejection",
    "unsupported_method", "missing_required_header", "use_after_free",
    "valid_requests_are_well_formed",
))  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["r2d2", "prd2"])
def test_what_schemathesis_finds(variant, tmp_path):
    examples = "60" if variant == "r2d2" else "15"
    hooks = {"SCHEMATHESIS_HOOKS": str(Path(__file__).with_name("openapi_checks.py"))}
    with running(small_searcher(variant), max_body_bytes=200_000, max_pixels=100_000) as address:
        found = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json",
             "--max-examples", examples, "--checks", CHECKS, "--continue-on-failure", "--no-color",
             "--seed", "1", "--generation-database", "none"],
            capture_output=True, text=True, encoding="utf-8", cwd=tmp_path, env=os.environ | hooks,
            check=False,
        )  # fmt: skip
    assert found.returncode == 0, found.stdout[-12_000:] + found.stderr[-2_000:]
