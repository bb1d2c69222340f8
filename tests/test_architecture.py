"""The house rules: imports point one way, the linter is content, and importing tinyvit loads little."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_imports_point_one_way():
    """The contracts are in pyproject.toml."""
    pytest.importorskip("importlinter", reason="import-linter is not installed (extra `test`)")
    check = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    result = run(sys.executable, "-c", check, "--no-cache")
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 0 broken" in result.stdout


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["check", "format"])
def test_ruff_is_content(command):
    pytest.importorskip("ruff", reason="ruff is not installed (extra `test`)")
    result = run(sys.executable, "-m", "ruff", *command, "--no-cache", "tinyvit", "tests")
    assert result.returncode == 0, result.stdout + result.stderr


def test_importing_tinyvit_loads_little():
    """What draws, decodes pictures or needs a GPU is loaded where it is used."""
    heavy = ["matplotlib", "cupy", "PIL", "tqdm"]
    result = run(sys.executable, "-c", f"import sys, tinyvit; print([name for name in {heavy} if name in sys.modules])")
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
