"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

    python scripts/lowest_versions.py > lowest.txt

`make lowest` installs them in an environment of its own and runs the fast tests. Of torch it takes
the version of constraints.txt, since older ones come with gigabytes of CUDA.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+)")


def lowest_versions(project: dict[str, object], pins: str) -> list[str]:
    """A line `name==version` for each package that the project names.

    Args:
        project: the table `project` of pyproject.toml.
        pins: the text of constraints.txt, which has torch's version.
    """
    extras = project["optional-dependencies"]
    groups = [project["dependencies"], *extras.values()]  # type: ignore[attr-defined]
    named = [found for group in groups for line in group if (found := REQUIREMENT.match(line))]
    lines = {f"{name}=={version}" for name, version in (m.groups() for m in named)}
    torch = next(line for line in pins.splitlines() if line.startswith("torch=="))
    return sorted({line for line in lines if not line.startswith("torch==")} | {torch})


if __name__ == "__main__":
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    print("\n".join(lowest_versions(table, (ROOT / "constraints.txt").read_text("utf-8"))))
