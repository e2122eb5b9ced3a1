"""What the Markdown files name exists: links, paths of the repository, make targets, commands."""

import re
import shlex
from pathlib import Path

import click
import pytest

from lift_core.cli import cli

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("lift_core/", "dags/", "plugins/", "docs/", "tests/", "docker/", "examples/", "requirements/")

FENCE = re.compile(r"^(```+|~~~+)[^\n]*\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
LINK = re.compile(r"\[[^\]\n]*\]\(<?([^)\s>]+)>?[^)\n]*\)")
COMMENT = re.compile(r"(?:^|\s)#.*")
TARGET = re.compile(r"^([a-z0-9_-]+):(?!=)", re.MULTILINE)


def markdown_files():
    """Those of the repository: nothing under a folder whose name begins with a dot, or that was built."""
    tops = [path for path in ROOT.iterdir() if path.name[0] != "." and path.name not in ("build", "dist")]
    found = [path for top in tops for path in ([top] if top.is_file() else top.rglob("*.md"))]
    return sorted(path for path in found if path.suffix == ".md")


FILES = markdown_files()
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md") if (ROOT / name).is_file()]


def prose(text):
    """The text without its fenced blocks."""
    return FENCE.sub("", text)


def inline_code(text):
    return [found[2].strip() for found in INLINE.finditer(prose(text))]


def fenced_lines(text):
    """Lines of all fenced blocks; one that ends in a backslash is joined with the next."""
    return [
        line for block in FENCE.finditer(text) for line in block[2].replace("\\\n", " ").splitlines() if line
    ]


def calls(lines, program):
    """The arguments of every call of a program: by a path or by name, after `cd … &&`, after `A=b`."""
    for line in lines:
        for part in re.split(r"&&|\|\||[;|]", COMMENT.sub("", line)):
            try:
                words = shlex.split(part)
            except ValueError:
                continue  # a drawing, not a command
            while words and (words[0] == "$" or re.fullmatch(r"[A-Z_]+=.*", words[0])):
                words.pop(0)
            if words and (words[0] == program or words[0].endswith(f"/{program}")):
                yield words[1:]


def broken_links(path, text):
    targets = [found[1] for found in LINK.finditer(INLINE.sub("", prose(text)))]
    local = [t.split("#")[0] for t in targets if not re.match(r"[a-z][a-z0-9+.-]*:", t)]
    return {t for t in local if t and not (path.parent / t).exists()}


def missing_paths(text):
    """Paths of the repository in backticks; what holds a placeholder stands for many."""
    words = [code.split()[0].split("::")[0] for code in inline_code(text) if code.startswith(FOLDERS)]
    return {word for word in words if not re.search(r"[<…]|NNNN", word) and not any(ROOT.glob(word))}


def unknown_targets(text):
    known = set(TARGET.findall((ROOT / "Makefile").read_text("utf-8")))
    named = {
        word
        for words in calls([*inline_code(text), *fenced_lines(text)], "make")
        for word in words
        if not word.startswith("-") and "=" not in word
    }
    return named - known


def wrong_command(words):
    """What is wrong with a call of `lift`: an unknown subcommand or option; None where nothing is."""
    command, context = cli, click.Context(cli, info_name="lift")
    words = list(words)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            return f"{context.command_path} {words[0]}"
        context = click.Context(found, info_name=words.pop(0), parent=context)
        command = found
    known = {option for parameter in command.get_params(context) for option in parameter.opts}
    given = [word.split("=")[0] for word in words if word.startswith("--")]
    unknown = [option for option in given if option not in known | {"--help", "--version"}]
    return f"{context.command_path} {unknown[0]}" if unknown else None


@every_file
def test_every_relative_link_leads_somewhere(path):
    assert not broken_links(path, path.read_text("utf-8"))


@every_file
def test_every_path_of_the_repository_exists(path):
    assert not missing_paths(path.read_text("utf-8"))


@every_file
def test_every_make_target_exists(path):
    assert not unknown_targets(path.read_text("utf-8"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_lift_command_exists(path):
    wrong = [wrong_command(words) for words in calls(fenced_lines(path.read_text("utf-8")), "lift")]
    assert not [each for each in wrong if each]


def test_every_decision_is_in_the_index():
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text("utf-8")
    decisions = sorted(folder.glob("[0-9]*.md"))
    numbers = [path.name[:4] for path in decisions]
    assert len(numbers) == len(set(numbers)), "two decisions have one number"
    for path in decisions:
        title = path.read_text("utf-8").splitlines()[0]
        assert title.startswith(f"# {path.name[:4]}: ")
        assert f"]({path.name})" in index


SAMPLE = """\
# [a](README.md) [b](no/such.md#part) [c](https://example.org/x) [d](#sample) `[e](code.md)`

`lift_core/steps.py` `lift_core/nothing.py` `dags/` `requirements/*.lock` `docs/adr/NNNN-title.md`
`tests/unit/docs/test_documents.py::test_x` `make setup ACCEL=cuda` `make coffee` make sure

```bash
cd x && make unit tea    # make nothing
.venv/bin/lift docs put FILE --wait
LIFT_HOME=x lift docs fly
lift ask report "Who?" --loudly
lift up && lift \\
  brew
│ it's a drawing
```
"""


def test_what_does_not_exist_is_found():
    """The checks above would pass on anything if they read nothing."""
    assert broken_links(ROOT / "sample.md", SAMPLE) == {"no/such.md"}
    assert missing_paths(SAMPLE) == {"lift_core/nothing.py"}
    assert unknown_targets(SAMPLE) == {"coffee", "tea"}
    wrong = [wrong_command(words) for words in calls(fenced_lines(SAMPLE), "lift")]
    assert wrong == [None, "lift docs fly", "lift ask --loudly", None, "lift brew"]
    assert {ROOT / "CONTRIBUTING.md", ROOT / "docs" / "cli.md"} <= set(FILES)
