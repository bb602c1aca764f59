"""The report: one file, opened in a real browser with no network, that says what `compare` says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlbench.cli import main
from tests.analysis.synthetic import thousand, write_many
from tests.browser import page


@pytest.fixture
def results_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "results"
    monkeypatch.setenv("RLBENCH_RESULTS", str(root))
    scores = {"iql": 60.0, "cql": 40.0}
    levels: dict[tuple[str, ...], float] = {
        (f"algo={algo}", f"dataset={data}"): scores[algo] for algo in scores for data in ("medium", "expert")
    }
    write_many(root, levels, range(4))
    return root


@pytest.mark.browser
@pytest.mark.usefixtures("results_folder")
def test_a_browser_shows_what_compare_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.html"
    assert main(["report", str(out)]) == 0
    assert main(["compare", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.partition("\n")[2])
    with page() as browser:
        browser.goto(out.as_uri())
        text = browser.inner_text("body")
        for pair in said["pairs"]:
            assert pair["words"] in text
        for cell in said["cells"]:
            assert f"{cell['mean']['value']:,.2f}" in text
        assert browser.locator("figure svg").count() == 5
        for place in range(5):
            assert browser.locator("figure svg").nth(place).bounding_box()["height"] > 50
        assert browser.locator("#runs tr").count() == 1 + 16
        heading = browser.locator("#runs th", has_text="last score")

        def scores() -> list[float]:
            return [float(each) for each in browser.locator("#runs tr td:last-child").all_inner_texts()]

        heading.click()
        assert scores() == sorted(scores())
        heading.click()
        assert scores() == sorted(scores(), reverse=True)


@pytest.mark.browser
def test_what_differs_is_said(results_folder: Path, tmp_path: Path) -> None:
    write_many(results_folder, {("algo=iql", "algo.expectile=0.9"): 30.0}, range(2))
    out = tmp_path / "report.html"
    assert main(["report", str(out), "algo=iql"]) == 0
    with page() as browser:
        browser.goto(out.as_uri())
        row = browser.locator("tr", has_text="algo.expectile").first.inner_text()
        assert "0.7" in row
        assert "0.9" in row


def test_names_from_runs_are_text_not_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "results"
    monkeypatch.setenv("RLBENCH_RESULTS", str(root))
    write_many(root, {("algo=iql",): 60.0}, range(2), meta={"simulator": "<script>alert(1)</script>"})
    out = tmp_path / "report.html"
    assert main(["report", str(out)]) == 0
    assert "<script>alert" not in out.read_text()
    assert "&lt;script&gt;alert" in out.read_text()


def test_a_page_of_one_algorithm_has_no_figure_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "results"
    monkeypatch.setenv("RLBENCH_RESULTS", str(root))
    write_many(root, {("algo=iql",): 60.0}, range(3))
    out = tmp_path / "report.html"
    assert main(["report", str(out)]) == 0
    assert 'id="curves"' in out.read_text()
    assert 'id="improvement"' not in out.read_text()


def test_an_arm_without_a_score_is_named_and_has_no_place(results_folder: Path, tmp_path: Path) -> None:
    write_many(results_folder, {("algo=bc", "dataset=medium"): 30.0}, range(2), points=5)
    out = tmp_path / "report.html"
    assert main(["report", str(out), "--protocol", "last10"]) == 0
    text = out.read_text()
    assert "left out, without a score: bc on hopper-medium" in text
    assert '<td class="left">bc</td>' not in text
    assert main(["report", str(out), "algo=bc", "--protocol", "last10"]) == 2


@pytest.mark.slow
def test_a_thousand_runs_stay_below_five_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "results"
    monkeypatch.setenv("RLBENCH_RESULTS", str(root))
    thousand(root)
    out = tmp_path / "report.html"
    assert main(["report", str(out)]) == 0
    assert out.stat().st_size < 5e6


def test_the_first_word_is_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "hopper"]) == 2
    assert "ends in .html" in capsys.readouterr().err
