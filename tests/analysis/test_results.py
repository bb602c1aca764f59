"""The tables of runs and metrics hold what jobs wrote, whatever state their directories are in."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rlbench import config
from rlbench.analysis.filters import Filter, is_value
from rlbench.analysis.results import Results, flat
from rlbench.errors import UsageError
from rlbench.tracking.rundir import RunDir
from tests.analysis import synthetic
from tests.pace import budget

BC = ("algo=bc", "steps=1000", "eval.every=100")
ROOT = Path(__file__).parents[2]


def read(root: Path, *words: str) -> Results:
    results = Results(root, words)
    results.refresh()
    return results


def rows_of(results: Results, run: RunDir) -> list[dict[str, Any]]:
    """The rows of one run as dicts, without what they do not have."""
    (number,) = results.runs.filter(pl.col("path") == str(run.path))["run"]
    rows = results.metrics.filter(pl.col("run") == number).drop("run").to_dicts()
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def append(run: RunDir, *rows: tuple[int, int, float]) -> None:
    run.append([{"step": step, "seed": seed, "eval/return": value} for step, seed, value in rows])


def age(path: Path) -> None:
    os.utime(path, (time.time() - 3600,) * 2)


def test_tables_hold_what_was_written(tmp_path: Path) -> None:
    runs = [
        synthetic.write(tmp_path, [*BC, "seed=3", "seeds=3"], every=5),
        synthetic.write(tmp_path, ["algo=iql", "dataset=expert", "steps=500", "eval.every=50"], points=7, done=0.5),
    ]
    results = read(tmp_path)
    assert [*results.runs["path"]] == [str(run.path) for run in runs]
    for run in runs:
        assert rows_of(results, run) == run.rows()
    bc, iql = results.runs.to_dicts()
    assert (bc["algo"], bc["problem"], bc["env"], bc["dataset"]) == ("bc", "hopper-medium", "hopper", "medium")
    assert (bc["state"], bc["step"], bc["steps"], bc["seed"], bc["seeds"]) == ("finished", 1000, 1000, 3, 3)
    assert (bc["simulator"], bc["fingerprint"]) == (synthetic.SIMULATOR, synthetic.CARD["fingerprint"])
    assert bc["experiment"] == config.experiment_id(config.compose(BC))
    assert bc["id"] == config.run_id(config.compose([*BC, "seed=3", "seeds=3"]))
    assert (iql["state"], iql["algo.expectile"], bc["algo.expectile"]) == ("interrupted", 0.7, None)
    assert bc["algo.hidden_dims"] == "[256, 256]"
    scores = [row["eval/normalized_score"] for row in runs[0].rows() if row["step"] == 1000]
    assert bc["score"] == pytest.approx(sum(scores) / 3)
    assert not [name for name in results.runs.columns if "about" in name or "budget" in name]


def test_an_experiment_is_all_but_its_seeds(tmp_path: Path) -> None:
    words = [(), ("seed=1",), ("seeds=2", "seed=5"), ("hardware.threads=2", "seed=2"), ("log.every=7", "seed=3")]
    same = [synthetic.write(tmp_path, [*BC, *each]) for each in words]
    other = [synthetic.write(tmp_path, [*BC, each]) for each in ("algo.batch_size=8", "dataset.size=999", "steps=70")]
    table = dict(read(tmp_path).runs.select("path", "experiment").iter_rows())
    assert len({table[str(run.path)] for run in same}) == 1
    assert len(set(table.values())) == 1 + len(other)


def test_half_a_line_is_no_line_yet(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path, BC, points=3, done=0)
    append(run, (1, 0, 1.0))
    with run.metrics.open("a") as file:
        file.write('{"step": 2, "seed": 0, "eval/re')
    results = read(tmp_path)
    assert [row["step"] for row in rows_of(results, run)] == [1]
    with run.metrics.open("a") as file:
        file.write('turn": 2.0}\n{"step": 3, ')
    assert results.refresh() == {0}
    assert [row["eval/return"] for row in rows_of(results, run)] == [1.0, 2.0]
    assert results.damaged == {}


@pytest.mark.parametrize("looks", [1, 2])
def test_a_step_reported_again_counts_as_it_was_reported_last(tmp_path: Path, looks: int) -> None:
    run = synthetic.write(tmp_path, [*BC, "seeds=2"], done=0)
    other = synthetic.write(tmp_path, [*BC, "seed=7"])
    append(run, *((step, seed, float(step)) for step in range(1, 6) for seed in (0, 1)))
    results = Results(tmp_path)
    if looks == 2:
        results.refresh()
    append(run, *((step, seed, 10.0 * step) for step in range(4, 8) for seed in (0, 1)))
    results.refresh()
    found = [(row["step"], row["seed"], row["eval/return"]) for row in rows_of(results, run)]
    values = [1.0, 2.0, 3.0, 40.0, 50.0, 60.0, 70.0]
    assert found == [(step, seed, value) for step, value in enumerate(values, 1) for seed in (0, 1)]
    assert rows_of(results, other) == other.rows()


def test_a_run_cut_back_or_begun_anew_is_read_again(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path, BC, points=10, state="interrupted")
    results = read(tmp_path)
    run.truncate(run.metrics.read_bytes().index(b"\n", 700) + 1)
    append(run, *((10_000 + k, 0, 1.0) for k in range(40)))  # now longer than it was
    results.refresh()
    assert rows_of(results, run) == run.rows()
    run.metrics.unlink()
    append(run, (5, 0, 5.0))
    results.refresh()
    assert rows_of(results, run) == [{"step": 5, "seed": 0, "eval/return": 5.0}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"step": 2, "se\n', "line 2 is damaged"),
        ("\0\0\0\0\n", "line 2 is damaged"),
        ('{"step": 2, "seed": 0, "eval/return": NaN}\n', "NaN"),
        ('{"step": 2, "seed": 0, "eval/return": "high"}\n', "high"),
        ('{"step": 2.5, "seed": 0}\n', "2.5"),
        ('{"seed": 0, "eval/return": 1.0}\n', "no step"),
        ("\n", "line 2 is damaged"),
    ],
)
def test_a_damaged_line_costs_its_run_alone(tmp_path: Path, line: str, said: str) -> None:
    whole, run = synthetic.write(tmp_path, BC), synthetic.write(tmp_path, [*BC, "seed=1"], done=0)
    append(run, (1, 0, 1.0))
    with run.metrics.open("a") as file:
        file.write(line)
    append(run, (3, 0, 1.0))
    results = read(tmp_path)
    ((path, reason),) = results.damaged.items()
    assert path == run.path
    assert str(run.metrics) in reason
    assert said in reason or said == "NaN"
    assert [*results.runs["path"]] == [str(whole.path)]
    assert rows_of(results, whole) == whole.rows()
    assert results.refresh() == set()
    run.truncate(0)
    append(run, (1, 0, 2.0))
    results.refresh()
    assert results.damaged == {}
    assert rows_of(results, run) == run.rows()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.yaml", None, "config.yaml"),
        ("config.yaml", "algo: {a: [\n", "config.yaml: while parsing"),
        ("config.yaml", "- 1\n", "config.yaml"),
        ("config.yaml", "", "config.yaml holds no configuration"),
        ("config.yaml", "seed: 1\nalgo:\n  name: bc\n", "config.yaml has no env"),
        ("status.json", None, "status.json is missing"),
        ("status.json", "{", "status.json cannot be read"),
        ("meta.json", "[]", "holds no JSON object"),
        ("meta.json", "{}", "names no experiment"),
        ("metrics.jsonl", None, "metrics.jsonl is missing"),
    ],
)
def test_a_damaged_directory_is_named_and_left_out(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    whole, run = synthetic.write(tmp_path, BC), synthetic.write(tmp_path, [*BC, "seed=1"])
    results = read(tmp_path)
    numbers = dict(results.runs.select("path", "run").iter_rows())
    if content is None:
        (run.path / name).unlink()
    else:
        (run.path / name).write_text(content)
    age(run.path)
    assert results.refresh() == {numbers[str(run.path)]}
    ((path, reason),) = results.damaged.items()
    assert path == run.path
    assert said in reason
    assert [*results.runs["path"]] == [str(whole.path)]
    assert len(results.metrics) == len(whole.rows())


def test_a_directory_that_is_being_made_is_not_damaged(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path, BC)
    status = (run.path / "status.json").read_bytes()
    (run.path / "status.json").unlink()
    results = read(tmp_path)
    assert (results.damaged, results.runs.height) == ({}, 0)
    (run.path / "status.json").write_bytes(status)
    assert results.refresh() == {0}
    assert results.runs.height == 1


def test_a_finished_run_that_lacks_a_file_is_damaged_at_once(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path, BC)
    run.metrics.unlink()
    assert read(tmp_path).damaged == {run.path: f"{run.metrics} is missing"}


@pytest.mark.parametrize("keep", [None, lambda _: False])
@pytest.mark.parametrize("seeds", [1, 2])
def test_metrics_cut_at_the_end_of_a_line_are_damaged(tmp_path: Path, seeds: int, keep: Any) -> None:
    run = synthetic.write(tmp_path, [*BC, f"seeds={seeds}"], points=3)
    results = Results(tmp_path, keep=keep)
    results.refresh()
    assert (results.damaged, results.runs.height) == ({}, 1)
    lines = run.metrics.read_bytes().splitlines(keepends=True)
    run.metrics.write_bytes(b"".join(lines[:-1]))  # of two seeds, the last evaluation of one
    for _ in range(2):
        results.refresh()
        why = "metrics.jsonl ends at step 666, status.json says it finished at step 1,000"
        assert (results.damaged, results.runs.height, results.metrics.height) == ({run.path: why}, 0, 0)
    run.metrics.write_bytes(b"".join(lines))
    results.refresh()
    assert (results.damaged, results.runs.height) == ({}, 1)


def test_a_run_without_a_score_may_end_anywhere(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path, BC, points=3)
    run.write_status(**{**run.raw_status(), "score": None})
    run.truncate(0)
    results = read(tmp_path)
    assert (results.damaged, results.runs.height) == ({}, 1)


def test_a_run_that_is_deleted_leaves(tmp_path: Path) -> None:
    first, second = synthetic.write(tmp_path, BC), synthetic.write(tmp_path, [*BC, "seed=1"])
    results = read(tmp_path)
    numbers = dict(results.runs.select("path", "run").iter_rows())
    first.path.rename(tmp_path / "elsewhere")
    assert results.refresh() == {numbers[str(first.path)]}
    assert [*results.runs["run"]] == [numbers[str(second.path)]]
    assert results.metrics["run"].unique().to_list() == [numbers[str(second.path)]]


def test_a_metric_that_one_row_has_is_not_lost(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path, BC, points=30)
    append(run, (10**6, 0, 3.0))
    run.append([{"step": 10**6 + 1, "seed": 0, "eval/once": 5, "nothing": None}])
    append(run, *((10**6 + k, 0, 3.0) for k in range(2, 30)))
    results = read(tmp_path)
    assert results.metrics["eval/once"].drop_nulls().to_list() == [5.0]
    assert results.metrics.schema["eval/once"] == pl.Float64


@pytest.mark.parametrize(
    "name", ["eval/präzision", 'eval/"best" of 3', "eval\\return", "eval/kl: reference", "train/損失"]
)
@pytest.mark.parametrize("everywhere", [True, False])
def test_a_metric_may_have_any_name(tmp_path: Path, name: str, everywhere: bool) -> None:
    """Whatever JSON makes of it."""
    run = synthetic.write(tmp_path, BC, points=3, done=0)
    rows: list[dict[str, Any]] = [
        {"step": step, "seed": 0, "eval/return": 1.0, "nothing": None} for step in range(1, 6)
    ]
    for row in rows if everywhere else rows[2:3]:
        row[name] = row["step"] / 2
    run.append(rows)
    results = read(tmp_path)
    assert results.damaged == {}
    assert results.metrics[name].to_list() == [row.get(name) for row in rows]
    assert results.metrics["eval/return"].to_list() == [1.0] * 5


def test_a_row_that_has_a_name_twice_costs_its_run(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path, BC, points=3, done=0)
    with run.metrics.open("a") as file:
        file.write('{"step": 2, "seed": 0, "eval/return": 1, "eval/return": 2}\n')
    assert read(tmp_path).damaged == {run.path: f"{run.metrics}: a row has a name twice"}


def test_no_runs_at_all(tmp_path: Path) -> None:
    results = read(tmp_path / "nowhere")
    assert (results.runs.height, results.metrics.height, results.damaged) == (0, 0, {})


def test_a_lost_run_is_seen_without_a_change_of_its_files(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run = synthetic.write(tmp_path, BC, done=0.5, state="running")
    status = run.raw_status() | {"pid": child.pid}
    (run.path / "status.json").write_text(json.dumps(status))
    results = read(tmp_path)
    assert [*results.runs["state"]] == ["running"]
    child.communicate(b"\n")
    assert results.refresh() == set()
    assert [*results.runs["state"]] == ["lost"]


def test_reading_while_a_job_writes(tmp_path: Path) -> None:
    """Whatever the moments at which a reader looks, it sees whole rows only, and in the end all of them."""
    run = synthetic.write(tmp_path, [*BC, "seeds=2"], done=0, state="running")
    code = f"""
import sys
with open({str(run.metrics)!r}, "ab", buffering=0) as file:
    for step in range(3000):
        line = b"".join(b'{{"step": %d, "seed": %d, "eval/return": %d.5}}\\n' % (step, seed, step) for seed in (0, 1))
        file.write(line[:step % 50])  # torn at every place
        file.write(line[step % 50:])
"""
    results = Results(tmp_path)
    looks, heights = 0, []
    with subprocess.Popen([sys.executable, "-c", code]) as writer:
        while writer.poll() is None:
            results.refresh()
            heights.append(results.metrics.height)
            looks += 1
    results.refresh()
    assert writer.returncode == 0
    assert heights == sorted(heights)
    assert rows_of(results, run) == run.rows()
    assert results.damaged == {}


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with the runs a to d, and which path is which."""
    root = tmp_path_factory.mktemp("four")
    words = {
        "a": [*BC],
        "b": [*BC, "seed=1"],
        "c": ["algo=iql", "steps=1000", "eval.every=100"],
        "d": ["algo=cocoa", "base=iql", "dataset=expert", "steps=1000", "eval.every=100"],
    }
    runs = {name: synthetic.write(root, each, points=4, done=1 - (name == "b") / 2) for name, each in words.items()}
    return root, {str(run.path): name for name, run in runs.items()}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "abcd"),
        (("bc",), "ab"),
        (("hopper-expert",), "d"),
        (("algo=bc",), "ab"),
        (("algo=cocoa",), "d"),
        (("base=iql",), "d"),
        (("algo=bc,iql", "seed=0"), "ac"),
        (("algo.learning_rate=3e-4",), "ab"),
        (("algo.hidden_dims=[256,256]", "bc"), "ab"),
        (("dataset=expert",), "d"),
        (("state=interrupted",), "b"),
        (("wandb.entity=null", "iql", "dataset=medium"), "c"),
        (("rerun=true",), ""),
    ],
)
def test_filters(four: tuple[Path, dict[str, str]], words: tuple[str, ...], expected: str) -> None:
    root, names = four
    found = read(root, *words)
    assert "".join(sorted(names[path] for path in found.runs["path"])) == expected
    assert set(found.metrics["run"].unique()) == set(found.runs["run"])
    assert set(expected) <= {name for path, name in names.items() if Filter(words).may_fit(Path(path))}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "abcd"),
        (("hopper-expert",), "d"),
        (("algo=bc",), "ab"),
        (("algo=cocoa",), "d"),
        (("algo=cocoa-iql,iql",), "cd"),
        (("env=walker2d",), ""),
        (("env=hopper", "seed=0"), "abcd"),  # the seed stands in the file that cannot be read
    ],
)
def test_damaged_runs_are_named_where_they_may_fit(
    four: tuple[Path, dict[str, str]], tmp_path: Path, words: tuple[str, ...], named: str
) -> None:
    root, names = four
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.rglob("config.yaml"):
        file.write_text("- 1\n")
    found = [root / path.relative_to(tmp_path) for path in read(tmp_path, *words).damaged]
    assert "".join(sorted(names[str(path)] for path in found)) == named


def test_a_run_that_fits_no_longer_leaves_and_may_come_back(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path, BC, done=0.5, state="interrupted")
    results = read(tmp_path, "state=interrupted")
    assert rows_of(results, run) == run.rows()
    run.write_status(**{**run.raw_status(), "state": "finished"})
    append(run, (10**6, 0, 1.0))
    results.refresh()
    assert (results.runs.height, results.metrics.height) == (0, 0)
    run.write_status(**{**run.raw_status(), "state": "interrupted"})
    results.refresh()
    assert rows_of(results, run) == run.rows()


def test_ids_are_text_to_a_filter() -> None:
    assert Filter(["id=1234567890"]).fits(Path("a/b/c"), {"id": "1234567890"})
    assert Filter(["seed=1"]).fits(Path("a/b/c"), {"seed": 1})
    assert not Filter(["seed=1"]).fits(Path("a/b/c"), {"seed": True})


def test_ids_are_found_by_their_beginnings() -> None:
    meant = Filter(["id=1e4e,69b6"])
    assert [id for id in ("1e4e000000", "69b6000000", "001e4e0000") if meant.fits(Path("a/b", id), {"id": id})] == [
        "1e4e000000",
        "69b6000000",
    ]
    assert not Filter(["id=1e4"]).fits(Path("a/b/1e4e000000"), {"id": "1e4e000000"})


@pytest.mark.parametrize("typed", ["[256,256]", "[256, 256]"])
def test_lists_are_found_as_configurations_and_as_tables_hold_them(typed: str) -> None:
    for found in ([256, 256], "[256, 256]"):
        assert is_value(found, typed)
        assert not is_value(found, "[256]")
        assert not is_value(found, "256")
    assert is_value("[draft", "[draft")


def test_a_filter_that_no_run_can_fit_is_refused(tmp_path: Path) -> None:
    synthetic.write(tmp_path, BC)
    with pytest.raises(UsageError, match=r"no run has a key 'algo\.learning_rat'\ndid you mean algo\.learning_rate"):
        read(tmp_path, "algo.learning_rat=1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("algo=bc,iqll",), "algo=iqll fits no run; did you mean iql?"),
        (("algo=iqll",), "algo=iqll fits no run; did you mean iql?"),
        (("hoper", "bc"), "hoper fits no run; did you mean hopper?"),
        (("id=0000000000",), "id=0000000000 fits no run"),
        (("seed=0,77", "rerun=true"), "seed=77 fits no run\nrerun=true fits no run"),
        (("bc", "iql"), "each of bc, iql fits some run, and no run fits them all\n"),
        (("bc", "seed=0"), None),
        (("state=interrupted,lost",), None),
        ((), None),
    ],
)
def test_words_that_fit_no_run_are_told(
    four: tuple[Path, dict[str, str]], words: tuple[str, ...], said: str | None
) -> None:
    found = read(four[0], *words)
    if said is None:
        found.require_fit()
    else:
        with pytest.raises(UsageError) as error:
            found.require_fit()
        assert str(error.value).startswith(said)


def test_a_word_that_a_damaged_run_may_fit_is_no_stranger(tmp_path: Path) -> None:
    synthetic.write(tmp_path, BC)
    (synthetic.write(tmp_path, ["algo=iql", *BC[1:]]).path / "config.yaml").write_text("")
    read(tmp_path, "algo=bc,iql").require_fit()
    with pytest.raises(UsageError, match="algo=cql fits no run"):
        read(tmp_path, "algo=bc,cql").require_fit()


def test_sections_read_as_the_whole() -> None:
    text = "a: 1\nlist:\n- 1\n- b: 2\n# no\nmap:\n  x: {y: [1, 2]}\n  about: {title: t}\n  s: 'two\n\n    lines'\n"
    assert flat(text) == {"a": 1, "list": [1, {"b": 2}], "map.x.y": [1, 2], "map.s": "two\nlines"}


def test_a_thousand_runs_in_time(tmp_path: Path) -> None:
    """Processor time, for the machine may be busy: a tenth of the points, and a tenth of the time for them."""
    synthetic.thousand(tmp_path, points=100)
    results = Results(tmp_path)
    with budget(1.5):
        results.refresh()
    assert (results.runs.height, results.metrics.height) == (1000, 100_000)
    for path in results.runs["path"][::20]:
        append(RunDir(Path(path)), (10**8, 0, 1.0))
    with budget(0.4):
        assert len(results.refresh()) == 50
    assert results.metrics.height == 100_050
