"""Files from the Hugging Face hub, where the network allows; nothing here runs at import."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

from r2d2.errors import R2D2Error

log = logging.getLogger(__name__)

_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def is_hub_id(text: str) -> bool:
    """Whether it has the form `owner/name` or `owner/name@revision`."""
    return _ID.fullmatch(text) is not None and not text.startswith((".", "-"))


def fetch(where: str) -> tuple[list[str], Callable[[str], Path]]:
    """The files of a repository, and a function that fetches one of them.

    Files land in the hub's own cache; where the hub is out of reach, what was fetched before is
    read from there. HF_ENDPOINT and HF_HUB_OFFLINE are heeded.

    Raises:
        R2D2Error: `huggingface_hub` is missing, or the hub cannot be reached or knows no such id.
    """
    try:
        from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    except ImportError as error:
        raise R2D2Error(
            f"{where} is no path here, and reading from the hub needs huggingface_hub: "
            "pip install huggingface_hub, or fetch the folder yourself and give its path"
        ) from error
    name, _, revision = where.partition("@")

    def told(error: Exception) -> R2D2Error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return R2D2Error(
            f"{where} is no path here, and the hub did not give it ({reason:.200}): "
            "fetch the folder elsewhere and give its path"
        )

    def get(file: str) -> Path:
        try:
            return Path(hf_hub_download(name, file, revision=revision or None))
        except Exception as error:  # the client raises its own, httpx's and OSError
            raise told(error) from error

    try:
        listed = HfApi().list_repo_files(name, revision=revision or None)
    except Exception as error:
        try:  # machines that train often have no network: the weights were fetched from another
            kept = snapshot_download(name, revision=revision or None, local_files_only=True)
        except Exception:
            raise told(error) from error
        log.info("%s: the hub was not asked, its files are read from the cache", where)
        listed = [file.name for file in Path(kept).iterdir()]
    return [file for file in listed if "/" not in file], get
