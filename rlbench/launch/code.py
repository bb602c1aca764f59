"""The code as it is now, copied to where a job that starts tomorrow finds it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import rlbench
from rlbench.paths import conf_root, results_root
from rlbench.tracking import meta

BESIDE = "beside"


def freeze(plugins: Mapping[str, str], dirs: Sequence[str] = ()) -> Path:
    """A copy of rlbench, its choices and the user's plug-ins, made once for each version of them.

    In front of `PYTHONPATH` it takes the place of what it was copied from. `beside/`, to be looked at last, has the
    modules that lie beside a plug-in's, which it may import. What pip installed stays where it is.

    Args:
        plugins: the modules that were declared as plug-ins, and the folder that each is imported from.
        dirs: folders of choices that are still to be read; `choices` says where their copies are.

    Returns:
        `<results>/code/<hash of all that is in it>`.
    """
    files = dict(found(plugins, dirs))
    contents = {"git.json": json.dumps(meta.git(), sort_keys=True).encode()}
    contents |= {target: source.read_bytes() for target, source in sorted(files.items())}
    digest = hashlib.sha256()
    for target, data in contents.items():
        digest.update(f"{target}\0{len(data)}\0".encode() + data)
    folder = results_root() / "code" / digest.hexdigest()[:16]
    if folder.is_dir():
        return folder
    copy = folder.with_name(f".{folder.name}.{os.getpid()}")
    for target, data in contents.items():
        (copy / target).parent.mkdir(parents=True, exist_ok=True)
        (copy / target).write_bytes(data)
    try:
        copy.rename(folder)
    except OSError:  # another process was quicker
        shutil.rmtree(copy)
        if not folder.is_dir():
            raise
    return folder


def choices(code: Path, number: int) -> Path:
    """Where a copy has the folder of choices in this place of `dirs`."""
    return code / "choices" / str(number)


def found(plugins: Mapping[str, str], dirs: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Every file to copy: where to, relative to the copy, and where from."""
    yield from below(Path(rlbench.__file__).parent, "rlbench")
    yield from below(conf_root(), "rlbench/conf")
    for number, each in enumerate(dirs):
        yield from below(Path(each), str(choices(Path(), number)), "*.yaml")
    for module, place in plugins.items():
        folder = Path(place)
        if (folder / module / "__init__.py").exists():
            yield from below(folder / module, module)
        else:
            yield from ((file.name, file) for file in folder.glob(f"{module}.*") if file.is_file())
        if folder.name not in ("site-packages", "dist-packages"):
            yield from ((f"{BESIDE}/{file.name}", file) for file in folder.glob("*.py"))
            for package in (init.parent for init in folder.glob("*/__init__.py")):
                yield from below(package, f"{BESIDE}/{package.name}", "*.py")


def below(folder: Path, target: str, pattern: str = "*") -> Iterator[tuple[str, Path]]:
    """Every file of a folder, but for what Python makes again."""
    for path in folder.rglob(pattern):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{target}/{path.relative_to(folder)}", path
