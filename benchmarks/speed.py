"""The measurements of `results/speed.md`: races against plain loops, seeds together, curves; and its tables.

    python -m benchmarks.speed races [RACE...]    into results/speed/races.json
    python -m benchmarks.speed profile [RACE...]  which operations an update spends its time in
    python -m benchmarks.speed seeds              into results/speed/seeds.json
    python -m benchmarks.speed curves             into results/speed/curves.json and curves.pdf, .png
    python -m benchmarks.speed table              the tables, as Markdown

With `--machine NAME` the files of races and seeds are another machine's: races_NAME.json.

Everything runs on one core; rates are steps a second of the processor, so that what else runs on the machine counts
little. Where another machine's work runs on the same core, it takes of the core itself: `table --undisturbed` has the
rounds alone before and after which bare products were as fast as they get. Run `rlbench data make` first where data
sets are not in the cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.race import Standing, race, standing
from rlbench.tracking import meta

RESULTS = Path("results/speed")
QUICK_MODEL = ["algo.dynamics.max_epochs=1"]  # how well the model is trained does not change what a step costs
PORTIONS = ["algo.rollout_every=100", "algo.rollout_starts=5000"]  # the published ratio, in smaller portions
LISTED = 12  # operations of a profile
UNDISTURBED, ENOUGH = 0.95, 8  # of the fastest decile's rate of bare products; rounds that say something
OURS = "eager", "recorded", "compiled"
PEERS = {
    "d3rlpy": ("td3_bc", "iql", "cql"),
    "jax": ("td3_bc", "iql"),
    "cleanrl": ("sac", "td3"),
}
"""Which join these races where they are installed."""
RACES: dict[str, list[str]] = {
    "td3_bc": [],
    "iql": [],
    "cql": [],
    "cql bf16": ["algo.precision=bf16"],
    "sac_n": ["algo.num_critics=10"],
    "edac": ["algo.num_critics=10"],
    "rebrac": [],
    "mopo": [*QUICK_MODEL, *PORTIONS],
    "mobile": [*QUICK_MODEL, *PORTIONS],
    "cocoa": ["base=iql", *QUICK_MODEL, "algo.seeker_epochs=1"],
    "sac": ["algo.start_steps=300"],
    "td3": ["algo.start_steps=300"],
}


def command(side: str, algo: str, seconds: float, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.contestant", side, algo, str(seconds), *overrides]


def here() -> dict[str, Any]:
    """Machine and versions of a measurement."""
    return meta.describe()["machine"] | {"versions": meta.versions()}


def races(names: Sequence[str], rounds: int, seconds: float, path: Path) -> None:
    """Plain loop, ours in three ways, bare matrix products and peers, in turns; a race is named after its algorithm."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for name in names or RACES:
        words, algo = RACES[name], name.split()[0]
        contestants = {
            "plain": [command("plain", algo, seconds)],
            "eager": [command("eager", algo, seconds, *words)],
            "recorded": [command("rlbench", algo, seconds, *words)],
            "compiled": [command("rlbench", algo, seconds, *words, "compile=on")],
            "limit": [command("limit", algo, seconds, *words)],
        }
        for peer in [peer for peer, joined in PEERS.items() if name in joined and find_spec(peer)]:
            contestants[peer] = [[sys.executable, "-m", f"benchmarks.{peer}_loop", algo, str(seconds)]]
        standings = race(contestants, rounds)
        found[name] = {"overrides": words, "standings": standings, "machine": here()}
        write(path, found)
        for side in OURS:
            one = standings[side]
            result = f"{one['rate']:.1f}/s, {one['ratio']:.2f} x plain, {share(standings, side):.0%} of the limit"
            print(f"{name} {side}: {result}", flush=True)


def share(standings: dict[str, Any], name: str) -> float:
    """Of the rate of bare products, the median over the rounds."""
    one, limit = standings[name], standings["limit"]
    pairs = zip(one["rates"], limit["rates"], strict=True)
    return statistics.median(rate * one["gflop"] / (bare * limit["gflop"]) for rate, bare in pairs)


def undisturbed(standings: dict[str, Standing]) -> dict[str, Standing]:
    """Of those rounds alone before and after which bare products ran as fast as this core can; nothing, if too few."""
    limit = standings["limit"]["rates"]
    if len(limit) <= ENOUGH:
        return {}
    fast = UNDISTURBED * statistics.quantiles(limit, n=10)[-1]
    rounds = [i for i in range(1, len(limit)) if min(limit[i - 1 : i + 1]) >= fast]
    if len(rounds) < ENOUGH:
        return {}
    first = [standings["plain"]["rates"][i] for i in rounds]
    return {name: standing(one["gflop"], [one["rates"][i] for i in rounds], first) for name, one in standings.items()}


def profile(names: Sequence[str], seconds: float) -> None:
    """The operations that take most of a recorded update, each without those that it calls."""
    from torch.profiler import profile as recorded

    from benchmarks.contestant import rlbench

    for name in names or RACES:
        train, _ = rlbench(name.split()[0], RACES[name])
        count = max(1, round(seconds / cost(train, 4)))
        with recorded() as record:
            train(count)
        spent = {event.key: event.self_cpu_time_total for event in record.key_averages()}
        total = sum(spent.values())
        most = sorted(spent, key=lambda key: -spent[key])[:LISTED]
        print(f"{name}: " + ", ".join(f"{key.removeprefix('aten::')} {spent[key] / total:.1%}" for key in most))


def seeds(rounds: int, seconds: float, path: Path) -> None:
    """Eight seeds as two processes of four, at the same time, against one seed alone: seed-updates."""
    found: dict[str, Any] = {}
    for algo in ("td3_bc", "iql"):
        for width in (64, 256):
            words = [f"algo.hidden_dims=[{width}, {width}]"]
            four = command("rlbench", algo, seconds, *words, "seeds=4")
            one = command("rlbench", algo, seconds, *words)
            standings = race({"one": [one], "two processes of four": [four, four]}, rounds)
            ratio = 4 * standings["two processes of four"]["ratio"]
            found[f"{algo} {width}"] = {"ratio": ratio, "standings": standings, "machine": here()}
            write(path, found)
            print(f"{algo} hidden {width}: {ratio:.2f} times one seed", flush=True)


CURVES: dict[str, tuple[str, list[tuple[int, list[str]]]]] = {
    "seeds, hidden 64": (
        "td3_bc", [(n, [f"seeds={n}", "algo.hidden_dims=[64, 64]"]) for n in (1, 2, 4, 8, 16, 32, 64)],
    ),
    "seeds, hidden 256": ("td3_bc", [(n, [f"seeds={n}"]) for n in (1, 2, 4, 8, 16, 32, 64)]),
    "hidden": ("td3_bc", [(n, [f"algo.hidden_dims=[{n}, {n}]"]) for n in (64, 128, 256, 512, 1024)]),
    "batch": ("td3_bc", [(n, [f"algo.batch_size={n}"]) for n in (256, 512, 1024, 2048, 4096)]),
    "critics": ("sac_n", [(n, [f"algo.num_critics={n}"]) for n in (2, 5, 10, 20, 50)]),
}  # fmt: skip


def curves(rounds: int, seconds: float) -> None:
    """Cost of an update against the limit, as one thing grows; in one process, bare products between the rounds."""
    from benchmarks.contestant import products, rlbench

    bare, gflop_bare = products()
    found: dict[str, Any] = {}
    for name, (algo, points) in CURVES.items():
        found[name] = []
        for value, words in points:
            train, gflop = rlbench(algo, words)
            count = max(1, round(seconds / cost(train, 2)))
            train(count)  # what comes first in a process is slower
            pairs = [(cost(train, count), cost(bare, 10)) for _ in range(rounds)]
            took = statistics.median(mine for mine, _ in pairs)
            share = statistics.median(gflop / mine / (gflop_bare / other) for mine, other in pairs)
            found[name].append({"value": value, "overrides": words, "seconds": took, "gflop": gflop, "share": share})
            print(f"{name} {value}: {1e3 * took:.2f} ms, {share:.0%} of the limit", flush=True)
        write(RESULTS / "curves.json", {"curves": found, "machine": here()})
    draw(found)


def cost(step: Callable[[int], object], count: int) -> float:
    """Seconds of the processor for one of so many steps."""
    start = time.process_time()
    step(count)
    return (time.process_time() - start) / count


def draw(found: dict[str, Any]) -> None:
    """One panel for each quantity: milliseconds of an update, and what they would be at the limit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(3.2 * len(found), 3.0), layout="constrained")
    for axis, (name, points) in zip(axes, found.items(), strict=True):
        values = [point["value"] for point in points]
        axis.loglog(values, [1e3 * point["seconds"] for point in points], "o-", label="an update")
        axis.loglog(values, [1e3 * point["seconds"] * point["share"] for point in points], "--", label="bare products")
        axis.set_title(f"{CURVES[name][0]}: {name}", fontsize=9)
        axis.set_xticks(values, [str(value) for value in values], fontsize=7)
        axis.minorticks_off()
        axis.set_xlabel(name.split(",")[0])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("milliseconds of one core")
    axes[0].legend(fontsize=8)
    for suffix in ("pdf", "png"):
        figure.savefig(RESULTS / f"curves.{suffix}", dpi=150)


def table(found: dict[str, dict[str, Standing]]) -> None:
    """The standings of races, as Markdown."""
    sides = ["plain", *PEERS, *OURS]
    rates = " | ".join(f"{side} /s" for side in sides)
    print(f"| | {rates} | {' | '.join(f'{side} : plain' for side in OURS)} | share of the limit | rounds |")
    print("|---" * (len(sides) + len(OURS) + 3) + "|")
    for name in [name for name in RACES if name in found]:
        race_ = found[name]
        ratios = " | ".join(
            f"**{race_[side]['ratio']:.2f}** ({race_[side]['ratio_low']:.2f} to {race_[side]['ratio_high']:.2f})"
            if side in race_
            else ""
            for side in OURS
        )
        rates = " | ".join(f"{race_[side]['rate']:.1f}" if side in race_ else "" for side in sides)
        shares = ", ".join(f"{share(race_, side):.0%}" for side in OURS if side in race_)
        print(f"| {name} | {rates} | {ratios} | {shares} | {len(race_['plain']['rates'])} |")
    print()
    for name, race_ in ((name, found[name]) for name in RACES if name in found):
        for peer in [peer for peer in PEERS if peer in race_]:
            pairs = zip(race_["compiled"]["rates"], race_[peer]["rates"], strict=True)
            low, middle, high = statistics.quantiles([mine / other for mine, other in pairs], n=4)
            print(f"- {name}, compiled : {peer} **{middle:.2f}** ({low:.2f} to {high:.2f})")


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["races", "profile", "seeds", "curves", "table"])
    parser.add_argument("races", nargs="*", metavar="RACE", help=", ".join(RACES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--machine", metavar="NAME", help="whose files these are")
    parser.add_argument("--undisturbed", action="store_true", help="in the table, rounds alone in which the core was")
    given = parser.parse_args()
    suffix = f"_{given.machine}.json" if given.machine else ".json"
    path = RESULTS / f"races{suffix}"
    if unknown := [name for name in given.races if name not in RACES]:
        parser.error(f"there is no race {', '.join(unknown)}: there are {', '.join(RACES)}")
    if given.undisturbed and given.what != "table":
        parser.error("--undisturbed chooses rounds of the table: python -m benchmarks.speed table --undisturbed")
    if given.what == "table" and not path.exists():
        there = ", ".join(sorted(each.stem.removeprefix("races_") for each in RESULTS.glob("races_*.json")))
        parser.error(f"{path} is not there: `races` makes it; --machine knows {there}")
    if given.what == "races":
        races(given.races, given.rounds, given.seconds, path)
    elif given.what == "profile":
        profile(given.races, given.seconds)
    elif given.what == "table":
        found = {name: race_["standings"] for name, race_ in json.loads(path.read_text()).items()}
        if given.undisturbed:
            found = {name: left for name, standings in found.items() if (left := undisturbed(standings))}
        if not found:
            parser.error(f"no race of {path} has {ENOUGH} rounds for the table: `races --rounds 80` has more")
        table(found)
    elif given.what == "seeds":
        seeds(given.rounds, given.seconds, RESULTS / f"seeds{suffix}")
    else:
        curves(given.rounds, given.seconds)


if __name__ == "__main__":
    main()
