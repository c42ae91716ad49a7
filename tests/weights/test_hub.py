"""A hub id as a model, against a server on this machine: photographs searched from nothing."""

import io
import json
import signal
import socket
import urllib.request
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from helpers.cli import wait_until
from helpers.hub_server import run_r2d2, start_r2d2
from helpers.published_weights import save_small
from helpers.runs import small_table
from helpers.small_hf_models import save_fgclip2, save_hf
from r2d2.models import load
from r2d2.weights.exporting import export_weights

PHOTOS = Path(__file__).resolve().parents[2] / "../shared/data/flickr8k-cn/val.parquet"
CHINESE_CLIP = "OFA-Sys/chinese-clip-vit-base-patch16"
PUBLISHED = {
    CHINESE_CLIP: lambda folder: save_hf(folder, "chinese_clip"),
    "google/siglip2-base-patch16-naflex": lambda folder: save_hf(folder, "siglip2"),
    "qihoo360/fg-clip2-base": save_fgclip2,
}
NEEDED = {"config.json", "model.safetensors", "tokenizer.json", "vocab.txt",
          "tokenizer_config.json", "preprocessor_config.json"}  # fmt: skip
BIG = 6_000_000  # numbers of a tensor that is not used: 24 MB, more than the client's buffer


def publish(hub, name, folder, **more):
    folder.mkdir(parents=True)
    PUBLISHED[name](folder)
    hub.publish(name, folder, pytorch_model__bin=b"never read", modeling__py=b"1 / 0", **more)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A table of real photographs, by way of a folder and its captions."""
    if not PHOTOS.exists():
        pytest.skip("needs shared/data beside the repository")
    folder = tmp_path_factory.mktemp("photos")
    rows = pq.read_table(PHOTOS).slice(0, 12).to_pylist()
    lines = ["image,caption"]
    for row in rows:
        (folder / f"{row['image_id']}.jpg").write_bytes(row["image"])
        lines.append(f"{row['image_id']}.jpg,{row['human'][0].replace(',', '，')}")
    (folder / "captions.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", PUBLISHED)
def test_photographs_are_indexed_searched_and_served_from_nothing(name, hub, photographs, tmp_path):
    publish(hub, name, tmp_path / "published")
    table, home = tmp_path / "photos.lance", tmp_path / "home"
    code, _, lines = run_r2d2(hub.url, home, "data", "import", "own", photographs, "--out", table)
    assert code == 0, lines
    code, out, lines = run_r2d2(hub.url, home, "index", table, "--model", name)
    assert code == 0, lines
    assert "12 of 12 rows have a vector" in out
    assert hub.names(name) <= NEEDED
    assert "model.safetensors" in hub.names(name)
    first = len(hub.asked)
    arguments = ("search", "一只狗在草地上", "--table", table, "--model", name, "--json")
    code, out, lines = run_r2d2(hub.url, home, *arguments, HF_HUB_OFFLINE="1")
    assert code == 0, lines
    assert len(json.loads(out)["hits"]) == 10
    assert len(hub.asked) == first  # from what was fetched
    assert sum("cosine alone" in line for line in lines) == 1
    process = start_r2d2(
        hub.url, tmp_path / "other-home", "serve", table, "--model", name, "--port", 0
    )
    try:
        address = process.stdout.readline().split()[0]
        asked = json.dumps({"text": "一只狗在草地上", "k": 3}).encode()
        request = urllib.request.Request(
            f"{address.rstrip('/')}/search", asked, {"Content-Type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request) as answer:
            found = json.load(answer)
        assert len(found["hits"]) == 3
        with opener.open(f"{address.rstrip('/')}{found['hits'][0]['image']}") as answer:
            assert Image.open(io.BytesIO(answer.read())).size[0] > 100
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def publish_big(hub, folder):
    publish(hub, CHINESE_CLIP, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"unused": torch.zeros(BIG)}, folder / "model.safetensors")
    hub.publish(CHINESE_CLIP, folder)
    return len(hub.files[CHINESE_CLIP]["model.safetensors"])


def ranges(hub):
    return [asked for method, _, name, asked in hub.asked
            if (method, name) == ("GET", "model.safetensors")]  # fmt: skip


def test_a_download_that_breaks_off_goes_on_by_itself(hub, tmp_path):
    size = publish_big(hub, tmp_path / "published")
    table = small_table(tmp_path / "t.lance", rows=4)
    hub.stop_at = size * 2 // 3
    hub.go_on.set()
    code, _, lines = run_r2d2(hub.url, tmp_path / "home", "index", table, "--model", CHINESE_CLIP)
    assert code == 0, lines
    first, again = ranges(hub)
    assert first is None
    assert int(again.removeprefix("bytes=").removesuffix("-")) >= 10_000_000
    assert any("model.safetensors" in line for line in lines)  # its bar
    assert any("tensors are not used: unused" in line for line in lines)


def test_a_download_that_was_stopped_goes_on_next_time(hub, tmp_path):
    size = publish_big(hub, tmp_path / "published")
    table, home = small_table(tmp_path / "t.lance", rows=4), tmp_path / "home"
    hub.stop_at = size * 2 // 3
    process = start_r2d2(hub.url, home, "index", table, "--model", CHINESE_CLIP)
    assert hub.stopped.wait(120)
    # what was sent may still be on its way: the client writes 10 MB at a time
    parts = "*.r2d2.partial"
    wait_until(process, lambda: any(part.stat().st_size for part in home.rglob(parts)))
    process.send_signal(signal.SIGINT)
    hub.go_on.set()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("stopped")
    code, _, lines = run_r2d2(hub.url, home, "index", table, "--model", CHINESE_CLIP)
    assert code == 0, lines
    assert ranges(hub)[-1] is not None
    assert hub.sent < 2 * size


def error_of(lines):
    """The one line that a user reads."""
    (line,) = [line for line in lines if line.startswith("error: ")]
    assert len([line for line in lines if line.strip()]) == 1, lines
    return line


@pytest.fixture
def table(tmp_path):
    return small_table(tmp_path / "t.lance", rows=4)


def test_a_hub_that_is_down_gives_one_line(table, tmp_path):
    with socket.socket() as free:  # a port that no one listens on
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        code, _, lines = run_r2d2(url, tmp_path / "home", "index", table, "--model", CHINESE_CLIP)
    assert code == 2
    message = error_of(lines)
    for words in (CHINESE_CLIP, url, "cannot be reached", "HF_ENDPOINT"):
        assert words in message


@pytest.mark.parametrize(
    ("name", "words", "more"),
    [
        ("owner/other", ("knows no model", "spelling"), {}),
        (f"{CHINESE_CLIP}@v9", ("no revision v9",), {}),
        ("some/gated", ("accepted its terms", "HF_TOKEN"), {}),
        (CHINESE_CLIP, ("HF_HUB_OFFLINE",), {"HF_HUB_OFFLINE": "1"}),
        ("some/bert", ("type 'bert'",), {}),
    ],
)
def test_what_the_hub_does_not_give_is_told_in_one_line(name, words, more, hub, table, tmp_path):
    publish(hub, CHINESE_CLIP, tmp_path / "published")
    hub.files["some/gated"] = hub.files[CHINESE_CLIP]
    hub.gated.add("some/gated")
    bert = json.dumps({"model_type": "bert"}).encode()
    hub.files["some/bert"] = hub.files[CHINESE_CLIP] | {"config.json": bert}
    code, _, lines = run_r2d2(hub.url, tmp_path / "home", "index", table, "--model", name, **more)
    assert code == 2
    message = error_of(lines)
    for word in words:
        assert word in message
    # nothing large is fetched before config.json tells that it can be used
    assert "model.safetensors" not in hub.names(name)


def test_a_hub_id_is_imported_and_fine_tuned_from(hub, tmp_path):
    towers = {"vision": {"pooled_norm": True}, "projection_bias": False}
    save_small(tmp_path / "ours", **towers)
    export_weights(load(tmp_path / "ours"), "chinese_clip", tmp_path / "theirs")
    hub.publish("owner/name", tmp_path / "theirs")
    code, out, lines = run_r2d2(
        hub.url, tmp_path / "home", "weights", "import", "owner/name@main",
        "--out", tmp_path / "back",
    )  # fmt: skip
    assert code == 0, lines
    assert "chinese_clip" in out
    table = small_table(tmp_path / "t.lance", rows=8)
    small = ("train.epochs=1", "train.batch_size=8", "system.threads=1", "objectives.queue_size=16")
    sets = [word for one in small for word in ("--set", one)]
    run = tmp_path / "run"
    start = ("finetune", "retrieval", table, "--out", run, *sets)
    code, _, lines = run_r2d2(hub.url, tmp_path / "home", *start, "--init", "owner/name")
    assert code == 0, lines
    assert json.loads((run / "run.json").read_text())["init"] == "owner/name"


def test_a_model_of_ours_on_the_hub_is_opened_too(hub, table, tmp_path):
    save_small(tmp_path / "ours")
    hub.publish("me/mine", tmp_path / "ours")
    code, out, lines = run_r2d2(hub.url, tmp_path / "home", "index", table, "--model", "me/mine")
    assert code == 0, lines
    assert "rows have a vector" in out
    # a hub that is down does no harm to what was fetched before
    hub.asked.clear()
    down = "http://127.0.0.1:9"  # the port of `discard`, which no one listens on
    code, _, lines = run_r2d2(down, tmp_path / "home", "index", table, "--model", "me/mine")
    assert code == 0, lines
    assert any("read from the cache" in line for line in lines)
