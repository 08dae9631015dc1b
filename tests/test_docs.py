"What the texts promise is there: every command in README and with help, README equal to its notebook, no stray address"
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ocr_quality.cli import app

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(command=None, path=()):
    "Every command of the command line with its path"
    command = command or typer.main.get_command(app)
    if hasattr(command, "commands"):
        if path and command.invoke_without_command: yield path, command
        for name, sub in command.commands.items(): yield from commands(sub, (*path, name))
    else: yield path, command


COMMANDS = list(commands())


def test_commands_are_found(): assert len(COMMANDS) > 12


@pytest.mark.parametrize("path, command", COMMANDS, ids=lambda o: " ".join(o) if isinstance(o, tuple) else "")
def test_every_command_is_in_the_readme_and_has_help(path, command):
    assert f"ocr-quality {' '.join(path)}" in README
    assert command.help and command.help.strip()
    for option in command.params:
        if option.name != "help": assert getattr(option, "help", None), f"{' '.join(path)}: {option.name} has no help"


def test_every_option_in_the_readme_exists():
    "A command line shown in README parses: its options are those of its command"
    known = {" ".join(path): {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"} for path, command in COMMANDS}
    lines = re.findall(r"^(?:\$ )?ocr-quality (.+)$", README, re.M)
    assert lines
    for line in lines:
        words = line.split("#")[0].replace("\\", "").split()
        path = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in known), None)
        if path is None:
            assert words[0].startswith("-"), f"README shows the unknown command {line!r}"
            continue
        for word in [w.split("=")[0] for w in words if re.match(r"--?[a-z]", w)]:
            assert word in known[path], f"README: {line!r} has the unknown option {word}"


def test_readme_equals_its_notebook():
    done = subprocess.run([sys.executable, ROOT / "tools/readme.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_make_target_in_the_readme_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    shown = set(re.findall(r"^make ([a-z]+)", README, re.M))
    assert {"demo", "test"} <= shown <= targets


def test_the_changelog_speaks_of_this_version():
    from ocr_quality import __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_links_in_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith(("http:", "https:", "mailto:")): assert (ROOT / target).exists(), f"README links to {target}, which is not there"
