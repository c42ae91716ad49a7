"""Rules that hold for every command: its help, its names, its language."""

import os
import re
import subprocess
import sys

import pytest
from typer.main import get_command

from helpers.runs import small_table
from r2d2 import __version__
from r2d2.cli import app
from r2d2.commands.order import COMMANDS
from r2d2.language import catalogue, language

# A sentence of the help begins by telling what to do, or has one of these verbs.
IMPERATIVES = {
    "Accept", "Add", "Aggregate", "Also", "Answer", "Ask", "Build", "Change", "Check",
    "Compare", "Compute", "Count", "Cut", "Decode", "Draw", "Embed", "Evaluate", "Explain",
    "Export", "Fetch", "Find", "Fine-tune", "Follow", "Give", "Go", "Have", "Index",
    "Initialise", "Install", "Judge", "Keep", "Label", "Lay", "Leave", "Let", "Limit", "List",
    "Listen", "Look", "Make", "Measure", "Name", "Plan", "Pre-train", "Print", "Put", "Rank",
    "Read", "Record", "Repeat", "Replace", "Report", "Resample", "Run", "Say", "Score",
    "Search", "Serve", "Share", "Show", "Spread", "Start", "Store", "Take", "Tell", "Train",
    "Upload", "Use", "Wait", "Weigh", "Weight", "Work", "Write",
}  # fmt: skip
VERBS = re.compile(r"\b(is|are|has|have|gives|goes|does|need|needs|takes)\b")


def all_commands(command=None, path=()):
    command = get_command(app) if command is None else command
    yield " ".join(path), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from all_commands(inner, (*path, name))


def helps():
    for name, command in all_commands():
        yield name, "", command.help
        for parameter in command.params:
            if parameter.name != "show_completion":
                yield name, parameter.name, parameter.help


def sentences(text):
    return re.split(r"(?<=\.)\s+|\n\n", text.strip())


def test_help_texts_are_sentences():
    wrong = []
    for name, parameter, text in helps():
        for sentence in sentences(text or "none"):
            verb = sentence.split()[0].rstrip(",") in IMPERATIVES or VERBS.search(sentence)
            if not sentence.endswith(".") or not sentence[0].isupper() or not verb:
                wrong.append((name, parameter, sentence))
    assert wrong == []


def test_commands_are_listed_in_the_order_of_use(cli):
    code, out, _ = cli("--help")
    assert code == 0
    assert re.findall(r"^\W ([a-z][a-z0-9-]+)\s", out, re.MULTILINE) == list(COMMANDS)
    assert COMMANDS[:4] == ("demo", "search", "serve", "finetune")
    assert COMMANDS[-2:] == ("bench", "flops")


def test_version(cli):
    assert cli("--version") == (0, f"r2d2 {__version__}\n", [])


@pytest.mark.parametrize("command", [(), ("evaluate",), ("evaluate", "retrieval")])
def test_h_is_help(cli, command):
    assert cli(*command, "-h") == cli(*command, "--help")


def test_a_table_is_an_argument_of_every_command_but_two():
    with_table = {name for name, command in all_commands() if "--table" in spellings(command)}
    assert with_table == {"search", "explain"}
    for name, command in all_commands():
        arguments = [p.name for p in command.params if p.param_type_name == "argument"]
        if "table" in arguments:
            assert arguments.index("table") <= ("model" in arguments), name


def test_one_name_for_one_thing():
    every = {option for _, command in all_commands() for option in spellings(command)}
    assert every.isdisjoint({"--top-k", "--text-length", "--length", "--rerank", "--folder"})
    settings = [name for name, command in all_commands() if "--set" in spellings(command)]
    assert "annotate import" not in settings  # where --set was a table


def spellings(command):
    return [text for p in command.params for text in (*p.opts, *p.secondary_opts)]


def test_old_names_are_taken_with_a_warning(cli, tmp_path, caplog):
    table = small_table(tmp_path / "t.lance", rows=2)
    for name, *old in (
        ("--top-k", "evaluate", "retrieval", "no-model", table, "--out", tmp_path / "a"),
        ("--length", "flops", "--preset", "tiny", "--gpus", "0"),
        ("--text-length", "evaluate", "matching", "no-model", table, "--out", tmp_path / "b"),
    ):
        for spelled in ((name, "5"), (f"{name}=5",)):
            caplog.clear()
            code, _, lines = cli(*old, *spelled)
            assert code == 2
            assert "No such option" not in "".join(lines)
            assert [record.args[0] for record in caplog.records] == [name]


def test_an_old_table_option_becomes_the_first_argument(cli, caplog):
    columns = ("--columns", "url,clicks,impressions,query")
    new = cli("corpus", "sql", "logs.clicks", "--dialect", "spark", *columns)
    assert new[0] == 0
    assert "`logs`.`clicks`" in new[1]
    for old in (("--table", "logs.clicks"), ("--table=logs.clicks",)):
        caplog.clear()
        code, out, _ = cli("corpus", "sql", "--dialect", "spark", *columns, *old)
        assert (code, out) == new[:2]
        assert [record.args for record in caplog.records] == [("--table",)]


def test_what_follows_two_dashes_keeps_its_spelling(cli):
    code, out, _ = cli("corpus", "sql", "--dialect", "spark", "--", "--table")
    assert code == 2  # the table is called so: no such name is taken for an option
    assert out == ""


def complete(*words, shell="bash"):
    environment = os.environ | {
        "_R2D2_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": " ".join(("r2d2", *words)),
        "COMP_CWORD": str(len(words)),
    }
    code = "import sys; sys.argv = ['r2d2']; from r2d2.entry import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_a_shell_completes_commands_and_options():
    assert complete("se") == ["search", "serve"]
    assert complete("evaluate", "retrieval", "--cand") == ["--candidates"]


def test_every_help_text_has_a_chinese_one():
    known = catalogue("help")
    english = {text for *_, text in helps()} | {"Show this message and exit."}
    assert english - known.keys() == set()
    stale = known.keys() - english - {text for text in known if "completion" in text}
    assert stale == set()
    for text, chinese in known.items():
        assert re.search(r"[\u4e00-\u9fff]", chinese), text
        assert set(re.findall(r"--[a-z0-9-]+", text)) == set(re.findall(r"--[a-z0-9-]+", chinese))


@pytest.mark.parametrize(
    ("environment", "chosen"),
    [
        ({"R2D2_LANG": "zh"}, "zh"),
        ({"R2D2_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({}, "en"),
    ],
)
def test_the_language_is_that_of_the_user(monkeypatch, environment, chosen):
    for name in ("R2D2_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language() == chosen


def test_help_in_chinese(cli, monkeypatch):
    monkeypatch.setenv("R2D2_LANG", "zh_CN")
    code, out, _ = cli("search", "--help")
    assert code == 0
    assert "精排的候选数" in out
    assert "选项" in out
    assert "显示这段说明并退出" in out
    assert "Rank this many" not in out
    assert "\u2026" not in out  # no text is cut at the end of a line
    assert "须同时给 --out" in out


def test_an_unknown_language_is_refused(cli, monkeypatch):
    monkeypatch.setenv("R2D2_LANG", "fr")
    code, _, lines = cli("search", "--help")
    assert code == 2
    assert lines == ["error: R2D2_LANG is 'fr': give one of en, zh"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("serch", "没有 'serch' 这个命令。是否想用 'search'"),
        ("search 猫 --nosuch", "没有 --nosuch 这个选项"),
        ("search 猫 --candidate 5", "相近的选项：--candidates"),
        ("search 猫 --candidates", "选项 '--candidates' 后面需要一个值"),
        ("search 猫 --candidates x", "'--candidates'的值无效：应为整数"),
        ("search 猫 --candidates 0", "的值无效：不能小于 1"),
        ("search 猫 --json=3", "选项 '--json' 后面不能带值"),
        ("search 猫 a b", "多余的参数：a b"),
        ("pretrain t.lance", "缺少选项 '--out'"),
        ("finetune retrieval", "缺少参数 'DATA'"),
        ("serve t.lance --port 99999", "（环境变量：'R2D2_PORT'）的值无效：不能大于 65535"),
    ],
)
def test_a_wrong_call_is_told_in_chinese(cli, monkeypatch, call, words):
    monkeypatch.setenv("R2D2_LANG", "zh")
    code, out, (line,) = cli(*call.split())
    assert (code, out) == (2, "")
    command = "r2d2" if call == "serch" else f"r2d2 {call.split()[0]}"
    assert line.startswith(f"{command}: error: ")
    assert words in line
    assert line.endswith(f"'{command} -h' 可查看说明。")
    assert not re.search(r"Usage|Try|No such|Missing|Invalid|Input|Option ", line)


@pytest.mark.parametrize(
    ("call", "command", "message"),
    [
        ("--nosuch", "r2d2", "No such option: --nosuch."),
        ("serch", "r2d2", "No such command 'serch'. Did you mean 'search', 'serve', 'bench'?"),
        ("data emojis", "r2d2 data", "No such command 'emojis'. Did you mean 'emoji'?"),
        ("data --nosuch", "r2d2 data", "No such option: --nosuch."),
        ("search 猫 --candidate 5", "r2d2 search",
         "No such option: --candidate (Possible options: --candidates, --cascade)."),
        ("search 猫 --candidates", "r2d2 search", "Option '--candidates' requires an argument."),
        ("search 猫 --json=3", "r2d2 search", "Option '--json' does not take a value."),
        ("search 猫 a b", "r2d2 search", "Got unexpected extra argument(s) (a b)."),
        ("search 猫 --candidates 0", "r2d2 search",
         "Invalid value for '--candidates': Input should be greater than or equal to 1."),
        ("evaluate retrieval a b", "r2d2 evaluate retrieval", "Missing option '--out'."),
        ("evaluate retrieval", "r2d2 evaluate retrieval", "Missing argument 'model'."),
        ("evaluate retrieval a b --out x --pooled-states x", "r2d2 evaluate retrieval",
         "Invalid value for '--pooled-states': Input should be a valid integer, unable to parse "
         "string as an integer."),
        ("corpus build --jobs", "r2d2 corpus build", None),
    ],
)  # fmt: skip
def test_a_wrong_call_is_told_in_one_line(cli, monkeypatch, call, command, message):
    monkeypatch.setenv("COLUMNS", "40")  # which broke lines before
    code, out, (line,) = cli(*call.split())
    assert (code, out) == (2, "")
    assert line.startswith(f"{command}: error: {message or ''}")
    assert line.endswith(f" Try '{command} -h' for help.")
    if message is not None:
        assert line == f"{command}: error: {message} Try '{command} -h' for help."


@pytest.mark.parametrize("call", ["", "data"])
def test_a_group_without_a_command_shows_its_help(cli, call):
    code, out, lines = cli(*call.split())
    assert code == 2
    assert lines == []
    assert {"": "pretrain", "data": "emoji"}[call] in out
