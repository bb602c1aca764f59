"""Runs in one small file, for a paper, a repository or a colleague: what they found and what made them.

The file is a zip of `runs/<algorithm>/<environment-dataset>/<id>/` without checkpoints and logs. Names of machines and
places in the file system stay behind; the same runs always give the same bytes.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rlbench.errors import RunError
from rlbench.paths import FOLDER
from rlbench.tracking.rundir import EPISODES, RunDir, alone

NUMBERS = "metrics.jsonl", EPISODES
WORDS = "config.yaml", "overrides.yaml"
NEEDED = {*WORDS, "meta.json", "status.json", "metrics.jsonl"}
PLACE = re.compile(r"(?:(?<=file://)|(?<![\w/.]))/(?:[^\s/\"':,]+/)+(?=[^\s/\"':,])")
"""The folders of an absolute path: in `file:/home/me/data.npz`, not in `https://example.org/data.npz`."""
NAME = re.compile(rf"runs/(?P<place>{FOLDER.pattern}/{FOLDER.pattern}/[0-9a-f]{{10}})/(?P<file>[a-z]+\.[a-z]+)")
LARGE = 1 << 30  # bytes of one file, unpacked, beyond which it is no run's


def pack(paths: Sequence[Path], out: Path) -> None:
    """Put run directories into a file.

    Args:
        paths: of the directories.
        out: the file; one that is there is replaced.

    Raises:
        RunError: a directory is damaged, or the file cannot be written.
    """
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
            for path in sorted(paths, key=lambda path: path.parts[-3:]):
                for name, content in contents(RunDir.open(path)).items():
                    # An entry of this name alone has the date 1980-01-01: no clock is in the bytes.
                    entry = zipfile.ZipInfo("/".join(["runs", *path.parts[-3:], name]))
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    file.writestr(entry, content)
        temporary.replace(out)
    except OSError as error:
        raise RunError(f"{out} cannot be made: {error.filename or temporary}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # a full disk has said so already
            temporary.unlink(missing_ok=True)


def contents(run: RunDir) -> dict[str, bytes]:
    """What is packed of a run, by file."""
    numbers = {name: (run.path / name).read_bytes() for name in NUMBERS if (run.path / name).exists()}
    meta = run.meta()
    whole = {**anonymous(meta), "resumed": [anonymous(life) for life in meta.get("resumed", [])]}
    status = {**run.status(), "pid": 0, "host": "packed"}
    words = {name: (run.path / name).read_text() for name in WORDS}
    words |= {"meta.json": json.dumps(whole, indent=1) + "\n", "status.json": json.dumps(status, indent=1) + "\n"}
    spaced = spaced_places(run.content())
    return numbers | {name: PLACE.sub("", spaced.sub("", text)).encode() for name, text in words.items()}


def spaced_places(config: dict[str, Any]) -> re.Pattern[str]:
    """The folders, with spaces in their names, of a configuration's paths: where they end, no text tells."""
    values = [str(value) for group in config.values() if isinstance(group, dict) for value in group.values()]
    folders = {f"{Path(value).parent}/" for value in values if value.startswith("/") and " " in str(Path(value).parent)}
    forms = {form for folder in folders for form in (folder, json.dumps(folder)[1:-1])}
    longest_first = sorted(forms, key=len, reverse=True)
    # YAML breaks lines at spaces.
    return re.compile("|".join(re.escape(form).replace(r"\ ", r"\s+") for form in longest_first) or r"(?!)")


def anonymous(facts: dict[str, Any]) -> dict[str, Any]:
    """Where a result comes from, without whose machine that was."""
    kept = dict(facts)
    if "machine" in kept:
        kept["machine"] = {key: value for key, value in kept["machine"].items() if key != "host"}
    if "command" in kept:
        kept["command"] = ["rlbench", *kept["command"][1:]]
    return kept


def unpack(file: Path, root: Path) -> Iterator[tuple[str, bool]]:
    """Put the runs of a file into a results folder; those that are there already stay as they are.

    Args:
        file: made by `pack`.
        root: the results folder.

    Yields:
        Each run's place below `runs`, and whether it is new.

    Raises:
        RunError: the file is damaged, or is none of these.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            for place, names in places(archive).items():
                yield place, extracted(archive, place, names, root)
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{file} cannot be unpacked: {getattr(error, 'strerror', None) or error}") from error


def places(archive: zipfile.ZipFile) -> dict[str, list[str]]:
    """The files of each run.

    Raises:
        BadZipFile: something else is in the archive, or a run lacks a file.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for entry in archive.infolist():
        match = NAME.fullmatch(entry.filename)
        if match is None or entry.file_size > LARGE:
            raise zipfile.BadZipFile(f"{entry.filename!r} is no file that `rlbench pack` puts there")
        found[match["place"]].append(match["file"])
    if not found:
        raise zipfile.BadZipFile("no run is in it")
    for place, names in found.items():
        if missing := sorted(NEEDED - set(names)):
            raise zipfile.BadZipFile(f"runs/{place} lacks {' and '.join(missing)}")
    return found


def extracted(archive: zipfile.ZipFile, place: str, names: Sequence[str], root: Path) -> bool:
    """Make a run's directory, whole or not at all; False if it was there."""
    path = root / "runs" / place
    with alone(path):
        if path.exists():
            return False
        new = path.with_name(f".{path.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        try:
            for name in names:
                (new / name).write_bytes(archive.read(f"runs/{place}/{name}"))
            RunDir.open(new)
            new.rename(path)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return True
