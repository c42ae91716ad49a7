"""`r2d2 push`: an exported folder to the hub, by huggingface_hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.integrations.card import CARD
from r2d2.integrations.hf_folder import ABOUT, MODULES
from r2d2.weights.hub import TIMEOUT, is_hub_id, quiet, reason, unreachable

SHIPPED = ".gitattributes"  # what a new repository holds


def push(folder: str | Path, repo: str, *, private: bool = False, overwrite: bool = False) -> str:
    """Upload a folder of `r2d2 export hf`, or its cross-encoder/, as a model of the hub.

    Args:
        folder: with a model card.
        repo: `owner/name`; made where it is not there.
        private: what is made anew is for its owner alone; one that is public is refused.
        overwrite: replace all that a repository holds.

    Returns:
        The address of the commit.

    Raises:
        R2D2Error: no such folder, no token, a repository that holds files or is public against
            `private`, or a hub that is out of reach or does not take them.
    """
    path = Path(folder)
    if not all((path / name).is_file() for name in (ABOUT, MODULES, CARD)):
        raise R2D2Error(
            f"{folder} is no folder with a model card that `r2d2 export hf` wrote: export it first"
        )
    if not is_hub_id(repo) or "@" in repo:
        raise R2D2Error(f"{repo} is no name of a repository: give owner/name")
    import huggingface_hub as client
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise R2D2Error("HF_HUB_OFFLINE is set, so nothing can be uploaded: unset it")
    if client.get_token() is None:
        raise R2D2Error(
            f"uploading to {repo} needs a token that may write there: make one at "
            f"{constants.ENDPOINT}/settings/tokens, and set HF_TOKEN to it or call "
            "`hf auth login`"
        )
    api = client.HfApi()
    try:
        with quiet():
            info = _model_info(api, client, repo)
            if private and info is not None and not info.private:
                raise R2D2Error(
                    f"{repo} is public, and --private only makes what is new private: change that "
                    f"at {constants.ENDPOINT}/{repo}/settings, or leave --private out"
                )
            there = _files(info)
            if there and not overwrite:
                raise R2D2Error(
                    f"{repo} holds {', '.join(there[:3])} already: give another name, or "
                    "--overwrite, which replaces all of its files"
                )
            api.create_repo(repo, private=private or None, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo, folder_path=path, commit_message="Upload by r2d2 push",
                delete_patterns="*" if there else None,
            )  # fmt: skip
    except R2D2Error:
        raise
    except Exception as error:  # the client raises its own, its transport's, OSError, ValueError
        raise _told(error, constants.ENDPOINT, repo) from error
    return str(done.commit_url)


def _model_info(api: Any, client: Any, repo: str) -> Any | None:
    """What the hub tells of a repository; None where there is none."""
    try:
        return api.model_info(repo, timeout=TIMEOUT)
    except client.errors.RepositoryNotFoundError:
        return None


def _files(info: Any | None) -> list[str]:
    """What a repository holds; nothing where there is none."""
    siblings = () if info is None else info.siblings or ()
    return [file.rfilename for file in siblings if file.rfilename != SHIPPED]


def _told(error: Exception, endpoint: str, repo: str) -> R2D2Error:
    """What went wrong, in one line, with what to do."""
    if unreachable(error):
        return R2D2Error(
            f"the hub at {endpoint} cannot be reached ({reason(error)}): set HF_ENDPOINT to "
            "another one, or run the same command again later"
        )
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if status in (401, 403):
        return R2D2Error(
            f"the hub at {endpoint} does not let this token write to {repo} ({reason(error)}): "
            "set HF_TOKEN to one with the right to write there"
        )
    return R2D2Error(
        f"the hub at {endpoint} did not take {repo} ({reason(error)}): mend it, and run the same "
        "command again"
    )
