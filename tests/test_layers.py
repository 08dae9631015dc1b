"The house: folders are layers, imports go down, every module has its one notebook, every directive is a known one"
import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["", "images", "records", "judge", "models", "tell", "jobs", "serve", "top"]
KNOWN = set("default_exp export exports exporti hide hide_input hide_output eval: echo: output:".split())
FLAGS = set(re.search(r"^tst_flags = (.*)$", (ROOT / "settings.ini").read_text(), re.M)[1].split())
NOTEBOOKS = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def code_cells(path): return ["".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]


def default_exp(path): return next((m[1] for s in code_cells(path) if (m := re.search(r"^#\|\s*default_exp\s+(\S+)", s, re.M))), None)


SOURCES = {p: e for p in NOTEBOOKS if (e := default_exp(p))}


def rank(nb):
    "Layer, then number; the command line stands on top"
    folder, number = nb.relative_to(ROOT / "nbs").parts[:-1], int(re.match(r"(\d+)_", nb.name)[1])
    return (LAYERS.index("top") if not folder and number >= 80 else LAYERS.index("/".join(folder))), number


RANKS = {e: rank(p) for p, e in SOURCES.items()}


def imports(mod, path):
    "Dotted names that module `mod` imports, absolute or relative, at any depth of its file `path`"
    for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(n, ast.Import): yield from (a.name for a in n.names)
        if isinstance(n, ast.ImportFrom):
            base = ".".join((mod.split(".")[: -n.level] if n.level else []) + ([n.module] if n.module else []))
            yield from [base] + [f"{base}.{a.name}" for a in n.names]


def module_path(exp): return ROOT / "ocr_quality" / (exp.replace(".", "/") + ".py")


def test_module_names_are_those_of_their_notebooks():
    assert len(set(SOURCES.values())) == len(SOURCES), "two notebooks export one module"
    for path, exp in SOURCES.items():
        parts = path.relative_to(ROOT / "nbs").with_suffix("").parts
        assert exp == ".".join([*parts[:-1], re.sub(r"^\d+_", "", parts[-1])]), path


def test_numbers_are_unique_in_a_layer(): assert len(set(RANKS.values())) == len(RANKS), sorted(RANKS.items(), key=lambda x: x[1])


def test_modules_on_disk_are_those_of_notebooks():
    found = {p.relative_to(ROOT / "ocr_quality").with_suffix("").as_posix().replace("/", ".") for p in (ROOT / "ocr_quality").rglob("*.py")}
    assert {m for m in found if not m.endswith("__init__") and m != "_modidx"} == set(SOURCES.values())


@pytest.mark.parametrize("exp", sorted(RANKS))
def test_imports_go_down(exp):
    ours = {n.removeprefix("ocr_quality.") for n in imports(f"ocr_quality.{exp}", module_path(exp)) if n.startswith("ocr_quality.")}
    for other in ours & set(RANKS):
        assert RANKS[other] < RANKS[exp], f"{exp} imports {other}, which stands above it"
        assert not (exp.startswith("serve.") and other.startswith("jobs.")), f"{exp} imports {other}: serve reads records, never jobs"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_directives_are_known_and_first(path):
    for source in code_cells(path):
        body = False
        for line in source.splitlines():
            m = re.match(r"^#\|\s*(\S+)", line)
            if m:
                assert m[1] in KNOWN | FLAGS, f"{path}: '#| {m[1]}' would drop the cell in silence"
                assert not body, f"{path}: {line!r} stands below code and is ignored in silence"
            elif line.strip(): body = True


@pytest.mark.parametrize("path", sorted((ROOT / "scheduled").glob("*.ipynb")), ids=lambda p: p.name)
def test_scheduled_notebooks_have_one_parameters_cell_and_no_def(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert sum("parameters" in c["metadata"].get("tags", []) for c in cells) == 1
    assert not any(re.search(r"^\s*(def|class) ", s, re.M) for s in code_cells(path))


def test_exported_code_needs_neither_nbdev_nor_fastcore():
    for exp in SOURCES.values():
        assert not {n.split(".")[0] for n in imports(f"ocr_quality.{exp}", module_path(exp))} & {"nbdev", "fastcore", "execnb"}, exp
