"""What the README and the documentation say is so: commands run, links lead somewhere, tables name what there is.

A block of commands is marked by the comment before it: `<!-- run: ci -->` (.ci/run does it), `<!-- run: test -->` (this
file does it) or `<!-- run: test, with OVERRIDES -->` (this file does it, made short by the overrides).
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- run: (?P<mark>.*?) -->\n)?```bash\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
ABOUT = {path.stem: yaml.safe_load(path.read_text())["about"] for path in sorted((ROOT / "conf/algo").glob("*.yaml"))}


@dataclass(frozen=True)
class Block:
    """A block of commands, its comments removed."""

    page: str
    mark: str | None
    commands: list[str]

    def __str__(self) -> str:
        return f"{self.page}: {self.commands[0]}"


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        for match in BLOCK.finditer(page.read_text()):
            lines = [re.sub(r"\s+#.*", "", line) for line in match["text"].splitlines()]
            found.append(Block(page.name, match["mark"], [line for line in lines if line]))
    return found


BLOCKS = blocks()
RUN_HERE = [block for block in BLOCKS if block.mark and block.mark.startswith("test")]


def test_every_block_of_commands_is_marked() -> None:
    fences = sum(page.read_text().count("```bash") for page in PAGES)
    assert len(BLOCKS) == fences > 0
    assert [str(block) for block in BLOCKS if not re.fullmatch(r"ci|test(, with .+)?", block.mark or "")] == []


def test_ci_runs_its_commands() -> None:
    script = (ROOT / ".ci/run").read_text()
    commands = [command for block in BLOCKS if block.mark == "ci" for command in block.commands]
    assert {"make run", "make test"} <= set(commands)
    assert [
        command for command in commands if not re.search(rf"^ *step '.*' {re.escape(command)}$", script, re.M)
    ] == []


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose PATH has this checkout's `rlbench`."""
    place = tmp_path_factory.mktemp("readme")
    command = place / "rlbench"
    # As pip writes it: processes that are spawned import it again.
    program = "from rlbench.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    command.write_text(f'#!{sys.executable}\nimport sys\nsys.path.insert(0, "{ROOT}")\n{program}')
    command.chmod(0o755)
    path = os.pathsep.join([str(place), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "RLBENCH_RESULTS": str(place / "results"), "HERE": str(place)}


def bash(command: str, shell: dict[str, str]) -> str:
    done = subprocess.run(["bash", "-euc", command], env=shell, cwd=shell["HERE"], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def run_id(shell: dict[str, str]) -> str:
    """What stands for RUN: the id of a finished run."""
    bash("rlbench algo=bc steps=10 eval.every=10 eval.episodes=1 dataset.size=2000 seed=7", shell)
    (run,) = Path(shell["RLBENCH_RESULTS"]).glob("runs/bc/hopper-medium/*/status.json")
    assert json.loads(run.read_text())["state"] == "finished"
    return run.parent.name


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN_HERE, ids=str)
def test_commands_run(block: Block, shell: dict[str, str], run_id: str) -> None:
    assert block.mark is not None
    _, _, shorter = block.mark.partition(", with ")
    for command in block.commands:
        bash(f"{command.replace('RUN', run_id)} {shorter}", shell)


@pytest.mark.parametrize(
    "page", [*PAGES, *sorted((ROOT / "results").rglob("*.md"))], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_index_names_every_page() -> None:
    index = ROOT / "docs/README.md"
    pages = [str(page.relative_to(index.parent)) for page in PAGES[1:] if page != index]
    assert [page for page in pages if f"({page})" not in index.read_text()] == []


def test_tables_name_every_algorithm() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in ABOUT if f"`{name}`" not in readme] == []
    titled = re.findall(r"^\| `(\w+)` \| (.*?) \|", readme, re.M)
    assert [name for name, text in titled if not text.startswith(ABOUT[name]["title"])] == []
    rows = re.findall(
        r"^\| (.*?) \| (.*?) \| \w+ \| `rlbench algo=(\w+)` \|$", (ROOT / "docs/algorithms.md").read_text(), re.M
    )
    assert rows == [(about["title"], about["paper"], name) for name, about in ABOUT.items()]
