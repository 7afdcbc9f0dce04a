"""The architecture as a test: imports point one way, and the seams stay where they are."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("cohortium", "algorithms", "node", "coordinator", "simulation")
MAY_IMPORT = {
    "cohortium": set(),
    "algorithms": {"cohortium"},
    "node": {"cohortium", "algorithms"},
    "coordinator": {"cohortium", "algorithms"},
    "simulation": {"cohortium", "algorithms", "node", "coordinator"},
}
FLOWER_SEAMS = {"node/app.py", "coordinator/flower.py", "simulation/flower_engine.py"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    for path in files(package):
        ours = imports(path) & set(PACKAGES) - {package}
        assert ours <= MAY_IMPORT[package], f"{path.relative_to(ROOT)} imports {ours - MAY_IMPORT[package]}"


@pytest.mark.parametrize("package", PACKAGES)
def test_flower_is_imported_in_its_seams_only(package):
    users = {p.relative_to(ROOT).as_posix() for p in files(package) if "flwr" in imports(p)}
    assert users <= FLOWER_SEAMS


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_executes_text(package):
    for path in files(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "compile", "__import__"}, f"{path.name}:{node.lineno}"
        assert not imports(path) & {"pickle", "dill", "cloudpickle", "marshal", "patsy", "formulaic"}


def test_algorithms_do_no_input_or_output():
    forbidden = {
        "os",
        "io",
        "pathlib",
        "time",
        "datetime",
        "random",
        "socket",
        "threading",
        "asyncio",
        "httpx",
        "subprocess",
    }
    for path in files("algorithms"):
        assert not imports(path) & forbidden, path.name
