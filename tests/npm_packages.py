"""Files of packages from npm, fetched once into a folder that all test processes share."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.services import need

CACHE = Path(__file__).parent.parent / ".pytest_cache" / "npm"
FETCH_SECONDS = 120


class NpmError(Exception):
    """npm did not fetch a package."""


def npm_file(package: str, inside: str) -> Path:
    """Return the path of a file inside a package, such as ``axe-core@4``, ``axe.min.js``.

    Skips the running test where there is no npm. Raises ``NpmError`` where npm gets nothing.
    """
    folder = CACHE / package.replace("/", "+")
    if not folder.is_dir():
        _fetch(package, folder)
    return folder / "package" / inside


def _fetch(package: str, folder: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=CACHE) as place:
        command = [need("npm"), "pack", "--silent", "--pack-destination", place, package]
        done = subprocess.run(
            command, cwd=place, capture_output=True, text=True, check=False, timeout=FETCH_SECONDS
        )
        archives = list(Path(place).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            raise NpmError(f"{' '.join(command[1:])}: {done.stderr.strip() or done.stdout.strip()}")
        unpacked = Path(place, "unpacked")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(unpacked, filter="data")
        with suppress(OSError):  # another process was faster
            unpacked.rename(folder)
