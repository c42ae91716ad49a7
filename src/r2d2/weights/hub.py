"""Fetch models from the Hugging Face hub; nothing is fetched when this module is imported.

The client is `huggingface_hub`: it keeps what it fetched in its own cache, and heeds HF_ENDPOINT (a
mirror), HF_HUB_OFFLINE, HF_HOME and HF_TOKEN. By itself it drops a download that was stopped, which
with gigabytes of weights costs hours; so weights are fetched into a partial file that the next
command goes on with, and put into its cache when they are whole.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from r2d2.errors import R2D2Error
from r2d2.extras import errors_only
from r2d2.files import disk_errors
from r2d2.progress import Update, bars
from r2d2.weights.files import BESIDE, CONFIG, choose_weights, read_json, shards

log = logging.getLogger(__name__)

_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")  # the ETag of a file in large file storage
TIMEOUT = 20.0  # seconds until a hub that is silent counts as out of reach
ELSEWHERE = "or fetch the folder elsewhere and give its path"


def is_hub_id(text: str) -> bool:
    """Return whether a name has the form `owner/name` or `owner/name@revision`."""
    return _ID.fullmatch(text) is not None and not text.startswith((".", "-"))


def fetch(where: str, check: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """The folder, in the hub's cache, of a model's weights and the small files beside them.

    Args:
        where: `owner/name`, or `owner/name@revision`.
        check: raises R2D2Error where its config.json tells that it cannot be used, before weights
            are fetched.

    Raises:
        R2D2Error: the hub cannot be reached, knows no such model, does not give it, or the
            download broke off.
    """
    hub = _Hub(where)
    listed = hub.files()
    weights = choose_weights(listed, where)
    with bars() as update:
        small = [name for name in BESIDE if name in listed]
        if weights.endswith(".index.json"):
            small.append(weights)
        folder = None
        for name in small:
            folder = hub.get(name).parent
            if name == CONFIG and check is not None:
                check(read_json(folder / CONFIG))
        parts = [weights] if folder is None else shards(folder, weights)
        for name in parts:
            hub.fetch_weights(name, update)
            folder = hub.get(name).parent
    assert folder is not None
    return folder


class _Hub:
    """One repository, as `huggingface_hub` sees it."""

    def __init__(self, where: str) -> None:
        import huggingface_hub

        self.where = where
        self.name, _, revision = where.partition("@")
        self.revision = revision or None
        self.client = huggingface_hub
        self.from_cache = False  # the hub did not answer

    def files(self) -> list[str]:
        """Return the names in its top folder; offline, those of the files fetched before."""
        try:
            with quiet():
                info = self.client.HfApi().model_info(
                    self.name, revision=self.revision, timeout=TIMEOUT
                )
        except Exception as error:  # the client raises its own, its transport's and OSError
            kept = self._cached_names() if unreachable(error) else None
            if kept is None:
                raise self._error(error) from error
            log.info("%s: the hub did not answer, the model is read from the cache", self.where)
            self.from_cache = True
            return kept
        names = [file.rfilename for file in info.siblings or ()]
        return [name for name in names if "/" not in name]

    def get(self, name: str) -> Path:
        """Return the path of a file in the cache, and fetch it first if needed."""
        try:
            with quiet():
                path = self.client.hf_hub_download(
                    self.name, name, revision=self.revision, local_files_only=self.from_cache
                )
                return Path(path)
        except Exception as error:
            raise self._error(error, name) from error

    def fetch_weights(self, name: str, update: Update) -> None:
        """Fetch a large file into the cache, and continue an earlier download of it.

        Where the hub does not answer, `get` finds what is there, or says why it does not.
        """
        if self.from_cache:
            return
        download = importlib.import_module("huggingface_hub.file_download")
        url = self.client.hf_hub_url(self.name, name, revision=self.revision)
        utils: Any = importlib.import_module("huggingface_hub.utils")
        headers = utils.build_hf_headers()
        try:
            with quiet():
                about = self.client.get_hf_file_metadata(url, headers=headers, timeout=TIMEOUT)
        except Exception:
            return
        if about.etag is None or not about.size or self.client.constants.HF_HUB_OFFLINE:
            return
        folder = Path(self.client.constants.HF_HUB_CACHE) / download.repo_folder_name(
            repo_id=self.name, repo_type="model"
        )
        whole = folder / "blobs" / about.etag
        if whole.exists():
            return
        partial = whole.with_name(f"{about.etag}.r2d2.partial")
        if urlsplit(about.location).netloc != urlsplit(url).netloc:  # the token is the hub's alone
            headers.pop("authorization", None)
        with disk_errors(folder):
            partial.parent.mkdir(parents=True, exist_ok=True)
            with utils.WeakFileLock(f"{partial}.lock"):
                if not whole.exists():
                    self._download(download.http_get, about, headers, name, partial, update)
                    partial.replace(whole)

    def _download(
        self,
        http_get: Callable[..., None],
        about: Any,
        headers: dict[str, str],
        name: str,
        partial: Path,
        update: Update,
    ) -> None:
        """Fetch the part of a file that `partial` lacks; raise R2D2Error if that is broken off."""
        if partial.exists() and partial.stat().st_size > about.size:
            partial.unlink()
        with partial.open("ab") as stream:
            try:
                with quiet():
                    http_get(
                        about.location, stream, resume_size=stream.tell(), headers=headers,
                        expected_size=about.size, displayed_filename=name,
                        tqdm_class=_bar_of(update),
                    )  # fmt: skip
            except OSError as error:
                if error.errno is not None:  # the disk's; the others are the connection's
                    raise
                raise self._error(error, name) from error
            except Exception as error:
                raise self._error(error, name) from error
        if _SHA256.fullmatch(about.etag) and _sha256(partial) != about.etag:
            partial.unlink()
            raise R2D2Error(f"{name} of {self.where} arrived damaged: run the same command again")

    def _cached_names(self) -> list[str] | None:
        """Return the names of the files in the cache; None where it has no weights."""
        try:
            folder = Path(
                self.client.snapshot_download(
                    self.name, revision=self.revision, local_files_only=True
                )
            )
            names = [file.name for file in folder.iterdir()]
            choose_weights(names, self.where)
        except Exception:  # among others, where only the small files were fetched
            return None
        return names

    def _error(self, error: Exception, file: str = "") -> R2D2Error:
        """Return the client's error as one line with a remedy."""
        errors = self.client.errors
        where, endpoint = self.where, self.client.constants.ENDPOINT
        subject = f"{where} is no path here, and"
        if isinstance(error, errors.GatedRepoError):
            return R2D2Error(
                f"{subject} the hub gives it only to those who accepted its terms: accept them at "
                f"{endpoint}/{self.name}, set HF_TOKEN to a token of yours, {ELSEWHERE}"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return R2D2Error(
                f"{subject} the hub's {self.name} has no revision {self.revision}: leave "
                f"@{self.revision} out, or give another"
            )
        if isinstance(error, errors.RepositoryNotFoundError):
            return R2D2Error(
                f"{subject} the hub at {endpoint} knows no model of that name: check the spelling; "
                "a private one needs HF_TOKEN"
            )
        if isinstance(error, errors.OfflineModeIsEnabled) or self.client.constants.HF_HUB_OFFLINE:
            return R2D2Error(
                f"{subject} HF_HUB_OFFLINE is set while the cache has not all of it: unset it, "
                f"{ELSEWHERE}"
            )
        if file and not isinstance(error, errors.HfHubHTTPError):
            return R2D2Error(
                f"the download of {file} of {where} broke off ({reason(error)}): run the same "
                "command again, it goes on from there"
            )
        if unreachable(error):
            return R2D2Error(
                f"{subject} the hub at {endpoint} cannot be reached ({reason(error)}): set "
                f"HF_ENDPOINT to a mirror, {ELSEWHERE}"
            )
        return R2D2Error(f"{subject} the hub did not give it ({reason(error)}): try again later, "
                         f"{ELSEWHERE}")  # fmt: skip


def unreachable(error: BaseException | None) -> bool:
    """Return whether the hub could not answer: no connection, offline mode, or a status of 5xx."""
    while error is not None:
        if type(error).__name__ in (
            "ConnectError", "ConnectTimeout", "ReadTimeout", "ReadError", "RemoteProtocolError",
            "ProxyError", "OfflineModeIsEnabled", "ConnectionError", "UnsupportedProtocol",
        ):  # fmt: skip
            return True
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if status >= 500:
            return True
        error = error.__cause__ or error.__context__
    return False


def reason(error: Exception) -> str:
    """Return the first line of the client's error."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(" .")


def quiet() -> AbstractContextManager[None]:
    """Without a line for each request and each try that failed: the last error tells it."""
    return errors_only("huggingface_hub", "httpx", "httpx2")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _bar_of(update: Update) -> type[Any]:
    """The client's bar, drawn by ours."""
    tqdm: Any = importlib.import_module("huggingface_hub.utils").tqdm

    class DownloadBar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            options = {**options, "disable": True}
            options.pop("name", None)
            self._what, self._all = str(options.get("desc")), int(options.get("total") or 0)
            self._done = int(options.get("initial") or 0)
            super().__init__(*args, **options)

        def update(self, n: float | None = 1) -> None:
            self._done += int(n or 0)
            update(self._what, self._done, max(self._all, self._done), "bytes")

    return DownloadBar
