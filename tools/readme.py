"""Make README.md from nbs/index.ipynb: prose as it is, code and text outputs in fences, `#| hide` cells left out.

usage: python tools/readme.py [--check]     --check writes nothing and exits 1 when README.md is stale
"""
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def text_output(output: dict) -> str:
    "Plain text of one output; pictures and HTML are left to the notebook"
    text = output.get("text") or output.get("data", {}).get("text/plain", "")
    return "".join(text).rstrip()


def parts(cell: dict):
    "Markdown of one cell; a table that a cell without its input prints is markdown itself"
    source = "".join(cell["source"]).strip()
    if not source or source.splitlines()[0] == "#| hide": return
    if cell["cell_type"] == "markdown":
        yield source
        return
    shown = "\n".join(t for o in cell["outputs"] if (t := text_output(o)))
    if source.startswith("#| hide_input"):
        yield shown if shown.startswith("|") else f"```text\n{shown}\n```"
        return
    lines = source.splitlines()
    shell = lines[0].startswith(("%%bash", "%%sh", "!"))
    if shell: lines = lines[1:] if lines[0].startswith("%%") else [line.removeprefix("!") for line in lines]
    yield f"```{'sh' if shell else 'python'}\n" + "\n".join(x for x in lines if not x.startswith("#|")) + "\n```"
    if shown: yield f"```text\n{shown}\n```"


def readme() -> str:
    cells = json.loads((ROOT / "nbs/index.ipynb").read_text(encoding="utf-8"))["cells"]
    return "<!-- made from nbs/index.ipynb by tools/readme.py -->\n\n" + "\n\n".join(p for c in cells for p in parts(c)) + "\n"


if __name__ == "__main__":
    path, text = ROOT / "README.md", readme()
    if "--check" in sys.argv:
        if path.read_text(encoding="utf-8") != text: sys.exit("README.md is stale: run python tools/readme.py")
    else: path.write_text(text, encoding="utf-8")
