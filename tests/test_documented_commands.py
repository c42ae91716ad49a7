"""The documents use commands and options that exist, and their links lead somewhere."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from typer.main import get_command

from r2d2.cli import app
from r2d2.config import make_config
from r2d2.corpus.config import make_corpus_config
from r2d2.errors import R2D2Error

ROOT_COMMAND = get_command(app)
ROOT = Path(__file__).resolve().parents[1]
PATTERNS = ("*.md", "docs/**/*.md", "recipes/*.md", "recipes/*.sh", "examples/*.sh")
DOCUMENTS = sorted(file for pattern in PATTERNS for file in ROOT.glob(pattern))
PAGES = [file for file in DOCUMENTS if file.suffix == ".md"]
HISTORY = ("CHANGELOG.md", "upgrade.md")  # which tell what was, too
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:\.venv/bin/)?r2d2 [^`]+)`")
CALL = re.compile(r"(?:^|[\s(;&|])(?:\.venv/bin/)?r2d2 +([a-z][^#;&>\n]*)", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def calls(file):
    """The words after `r2d2`, of shell blocks and of code within a line."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ").replace("\\|", "|")
    if file.suffix == ".md":
        for language, block in BLOCK.findall(text):
            if language == "sh":
                yield from CALL.findall(block)
        for code in INLINE.findall(BLOCK.sub("", text)):
            yield from CALL.findall(code)
    else:
        yield from CALL.findall(re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE))


def resolved(words):
    """The commands that the first words name: `export onnx|immich` names two."""
    commands = [ROOT_COMMAND]
    for word in words:
        groups = [command for command in commands if hasattr(command, "commands")]
        names = [name.strip("[],") for name in word.split("|")]
        if not groups or word.startswith("-") or not re.fullmatch(r"[a-z0-9|\-]+,?", word):
            break
        missing = [name for name in names if not any(name in g.commands for g in groups)]
        assert not missing, f"no command {missing}"
        commands = [g.commands[name] for g in groups for name in names if name in g.commands]
    return commands


def options(command):
    """Those of a command, or of all commands of a group."""
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for inner in getattr(command, "commands", {}).values():
        yield from options(inner)


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_and_options_are_there(file):
    wrong = []
    for call in calls(file):
        try:
            commands = resolved(call.split())
        except AssertionError as error:
            wrong.append((call.strip()[:80], str(error)))
            continue
        known = {"--help"} | {text for command in commands for text in options(command)}
        call = re.split(r"\s\|\s", call)[0]
        unknown = [option for option in OPTION.findall(call) if option not in known]
        if unknown and file.name not in HISTORY:
            wrong.append((call.strip()[:80], unknown))
    assert wrong == []


def test_the_check_sees_what_is_wrong(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nr2d2 serve --table a.lance\nr2d2 nothing\n```\nand `r2d2 flops --gpus 2`\n"
    )
    found = list(calls(page))
    assert [call.split()[0] for call in found] == ["serve", "nothing", "flops"]
    with pytest.raises(AssertionError, match="nothing"):
        resolved(["nothing"])
    assert [command.name for command in resolved(["export", "onnx|immich", "MODEL"])] == [
        "onnx", "immich",
    ]  # fmt: skip


LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(file):
    wrong = []
    for target in LINK.findall(BLOCK.sub("", file.read_text(encoding="utf-8"))):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        linked = (file.parent / path).resolve() if path else file
        if not linked.exists():
            wrong.append(target)
        elif anchor and linked.suffix == ".md":
            text = linked.read_text(encoding="utf-8")
            headings = {slug(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
            if anchor not in headings and f'name="{anchor}"' not in text:
                wrong.append(target)
    assert wrong == []


def slug(title):
    """The anchor that a heading gets on a page."""
    plain = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_settings_are_there(file):
    """All settings of a command together, for some are allowed beside others only."""
    wrong = []
    for call in calls(file):
        try:
            words = shlex.split(call)
        except ValueError:  # a quotation that a later line closes
            continue
        settings = [value for option, value in pairwise(words) if option == "--set"]
        settings = [value for value in settings if re.fullmatch(r"[\w.]+=[^$.]*(\.\d+)?", value)]
        try:
            if words[0] in ("demo", "pretrain", "finetune", "ablate", "flops"):
                make_config("tiny", "r2d2", settings)
            elif words[0] == "corpus":
                make_corpus_config("zero", None, settings)
        except R2D2Error as error:
            wrong.append((call[:80], str(error)))
    assert wrong == []


ALONE = re.compile(r"(?:`|--set )([a-z_]+\.[a-z_0-9.]+=[\w.-]+)(?=[` ])")


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_settings_within_a_sentence_are_there(file):
    """By their names and values; what else they need is not asked."""
    if file.name in HISTORY:
        return
    wrong = []
    text = BLOCK.sub("", file.read_text(encoding="utf-8"))
    for setting in set(ALONE.findall(text)) - {"group.name=value"}:
        told = [refusal(make_config, "tiny", "r2d2", [setting]),
                refusal(make_corpus_config, "zero", None, [setting])]  # fmt: skip
        if all("unknown setting" in line or "choose one of" in line for line in told):
            wrong.append((setting, told))
    assert wrong == []


def refusal(make, *arguments):
    """What is wrong with settings; empty: nothing."""
    try:
        make(*arguments)
    except R2D2Error as error:
        return str(error)
    return ""


SCRIPT = re.compile(r"(?<![\w/])(?:benchmarks|examples|recipes|scripts)/[\w/]+\.(?:py|sh)")
MODULE = re.compile(r"python -m (benchmarks\.[\w.]+)")


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_scripts_are_there(file):
    text = file.read_text(encoding="utf-8")
    named = set(SCRIPT.findall(text)) | {f"{m.replace('.', '/')}.py" for m in MODULE.findall(text)}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_measuring_script_is_in_the_list_of_commands():
    text = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    missing = [
        file.name
        for file in sorted((ROOT / "benchmarks").glob("*.py"))
        if "__main__" in file.read_text(encoding="utf-8")
        and not re.search(rf"benchmarks[./]{file.stem}\b", text)
    ]
    assert missing == []
