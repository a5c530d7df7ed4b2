"""The audit of packages, with answers in pip-audit's form, and without network."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci/audit"
FAULTS: Any = runpy.run_path(str(SCRIPT))["faults"]


def package(*faults: tuple[str, list[str], list[str]]) -> list[dict[str, Any]]:
    vulns = [{"id": name, "aliases": aliases, "fix_versions": fixed} for name, aliases, fixed in faults]
    return [{"name": "thing", "version": "1.0", "vulns": vulns}]


def test_a_known_vulnerability_is_named_with_its_mend() -> None:
    (line,) = FAULTS(package(("PYSEC-1", ["CVE-1"], ["1.1"])), {})
    assert "thing 1.0: PYSEC-1" in line
    assert "1.1" in line


def test_an_accepted_one_is_quiet_by_any_of_its_names_and_a_needless_acceptance_is_not() -> None:
    assert FAULTS(package(("PYSEC-1", ["CVE-1"], [])), {"CVE-1": "a reason"}) == []
    (line,) = FAULTS(package(), {"CVE-1": "a reason"})
    assert line.startswith("CVE-1: accepted, but not found")


def test_a_package_that_is_unknown_there_is_no_clean_package() -> None:
    (line,) = FAULTS([{"name": "thing", "skip_reason": "not found"}], {})
    assert line.startswith("thing: not audited")


def test_without_network_the_audit_fails_with_one_line() -> None:
    pytest.importorskip("pip_audit")
    environment = {**os.environ, "https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("audit: no answer")
