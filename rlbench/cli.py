"""The command line: words are overrides of a run or a sweep; a verb in first place looks at what was run.

Imports neither Hydra nor torch before a command needs them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

from rlbench import __version__
from rlbench.errors import Interrupted, RunError, UsageError
from rlbench.importing import importing

if TYPE_CHECKING:
    from rlbench.launch.sweep import Planned

VERBS = {
    "list": "what there is to choose: list [algo|env|dataset|hardware|experiment]",
    "describe": "every key of a choice, its default, meaning and source: describe algo=cocoa",
    "check": "compose and validate, run nothing: check OVERRIDES",
    "runs": "what was run, and what came of it",
    "show": "one run: show RUN",
    "status": "how far runs and sweeps are, and what waits: status [SWEEP|WORD...]",
    "sweep": "sweeps by name: sweep ls|show|resume|cancel",
    "logs": "what a run says: logs RUN [-f]",
    "cancel": "stop a run or a sweep, wherever it runs: cancel RUN|SWEEP",
    "resume": "go on with a run or a sweep that was stopped: resume RUN|SWEEP",
    "compare": "does A beat B, by how much, is it enough to tell: compare [FILTER...]",
    "table": "published against reproduced, cell by cell: table [FILTER...] | -m OVERRIDES",
    "plot": "a comparison as a figure: plot curves|efficiency|profile|improvement|bars|frontier --out FILE",
    "dashboard": "all runs in a browser, live",
    "report": "a comparison as one HTML page: report OUT.html [FILTER...]",
    "pack": "runs in one small file, beside a paper or in a repository: pack FILE.zip [FILTER...]",
    "unpack": "the runs of such a file, into the results folder: unpack FILE.zip",
    "eval": "more episodes of a trained policy, on video if you like: eval RUN",
    "export": "a policy as TorchScript or ONNX: export RUN",
    "data": "recorded datasets, and the policies behind them",
    "wandb": "send runs to Weights & Biases, get runs from there: wandb sync|pull|view",
    "bench": "what a run costs, phase by phase: bench OVERRIDES",
    "doctor": "whether this machine has what it takes",
}

WORKING = {"sweep", "cancel", "resume", "eval", "export", "data", "wandb", "bench", "pack", "unpack"}
"""Verbs that do more than print: like runs, they come to their end when their reader has gone."""

HELP = f"""\
Train, resume and compare reinforcement-learning algorithms.

  rlbench algo=cocoa env=hopper                       one run
  rlbench algo=cocoa env=hopper seeds=8               eight seeds, trained together
  rlbench -m algo=iql,cql dataset=medium,expert       a sweep, one run after another
  rlbench -m algo=iql,cql hardware=local              a sweep, as many runs at a time as fit this machine
  rlbench -m algo=iql,cql hardware=slurm_gpu          a sweep, on the cluster
  rlbench -m experiment=cocoa_d4rl                    a paper's table (rlbench list experiment)
  rlbench -m algo=iql algo.tau='interval(0,.1)' search=tpe   a search for good values
  rlbench algo=cocoa preset=quick                     a short run, to see that it works

Overrides
  GROUP=OPTION   choose a file: algo, env, dataset, base, hardware, tracking, search, preset, experiment
  KEY=VALUE      set a value: seed=1 steps=20000 eval.every=1000 algo.gamma=0.98
  dataset=file:PATH   your own recording

Commands (each explains itself with --help)
{chr(10).join(f"  {verb:<10} {text}" for verb, text in VERBS.items())}

Options
  -m, --multirun     run every combination of values: a=1,2  a=range(0,4)  algo=glob(td3*)
  --name NAME        what the sweep is called (rlbench sweep ls)
  --cfg job          print the composed configuration instead of running it (--json: for a program)
  --config-dir DIR   add a folder of your own choices (DIR/algo/mine.yaml, ...); DIR/plugins.yaml
                     says which Python modules they may name: `plugins: [mymodule]`
  --help, --version

The same run asked for again is found: finished it is shown, stopped it goes on; rerun=true starts anew.
RLBENCH_RESULTS and RLBENCH_CACHE move results and cached data; RLBENCH_TRACEBACK=1 shows tracebacks.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""


@dataclass(frozen=True)
class Request:
    """What the words of a run or a check ask for."""

    overrides: list[str]
    config_dirs: list[str]
    multirun: bool
    name: str | None
    config_only: bool
    json: bool


class Parser(argparse.ArgumentParser):
    """Options of a command; what it does not understand is a `UsageError`."""

    def __init__(self, command: str, text: str) -> None:
        super().__init__(
            prog=f"rlbench {command}".strip(),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def add_argument(self, *names: Any, **how: Any) -> argparse.Action:
        if how.get("nargs") == "*":
            how.setdefault("default", [])  # without one, argparse names them among what is missing
        return super().add_argument(*names, **how)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n`{self.prog} --help` explains")

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The options and words, in any order."""
        known, unknown = self.parse_known_intermixed_args(words)
        if unknown:
            raise self.unknown_option(unknown[0])
        return known

    def unknown_option(self, word: str) -> UsageError:
        from rlbench.spelling import closest

        name, _, value = word.lstrip("-").partition("=")
        options = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        near = closest(name, [option[2:] for option in options])
        if near:
            return UsageError(f"no option {word}\ndid you mean --{near[0]}?")
        return UsageError(f"no option {word}\nvalues are set without dashes: {name}={value or 'VALUE'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Python has None for what was closed before it began: `rlbench list >&-`.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - open to the end of the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    try:
        return guarded(lambda: flushed(words))
    except BrokenPipeError:  # the reader has seen enough: `rlbench list | head`
        return 0
    finally:
        for stream in sys.stdout, sys.stderr:
            try:
                stream.flush()
            except OSError:  # Python would try once more as it ends, complain, and change the code
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def flushed(words: list[str]) -> int:
    """Run a command, and see to it that what it printed is written; that nobody reads it does not change its code."""
    code = dispatch(words)
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    return code


class Unread:
    """A stream that takes what is written to it when nobody reads it any more; the work goes on."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with suppress(BrokenPipeError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(BrokenPipeError):
            self.stream.flush()


@contextmanager
def to_the_end() -> Iterator[None]:
    """What is done inside goes on when the reader of stdout has gone."""
    with redirect_stdout(cast(TextIO, Unread(sys.stdout))):
        yield


def dispatch(words: list[str]) -> int:
    before = 2 if words[:1] == ["--config-dir"] else 1 if "".join(words[:1]).startswith("--config-dir=") else 0
    if before < len(words) and words[before] in VERBS:  # options may stand before it, as they do before a run's words
        words = [words[before], *words[:before], *words[before + 1 :]]
    if words and words[0] in VERBS:
        with importing():
            module = importlib.import_module(f"rlbench.verbs.{words[0]}")
        with to_the_end() if words[0] in WORKING else nullcontext():
            return int(module.main(words[1:]))
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if words else 2
    if words == ["--version"]:
        print(f"rlbench {__version__}")
        return 0
    if words[0].isidentifier():
        from rlbench.spelling import closest

        if near := closest(words[0], VERBS, most=1):
            raise UsageError(f"no command {words[0]!r}\ndid you mean {near[0]}?")
    return launch(request(words, "", HELP))


def request(words: Sequence[str], command: str, text: str) -> Request:
    """Take the options of a run, a check or a description apart."""
    parser = Parser(command, text)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    parser.add_argument("-m", "--multirun", action="store_true", help="every combination of values")
    parser.add_argument("--name", metavar="NAME", help="what the sweep is called")
    parser.add_argument("--cfg", choices=["job"], help="print the configuration")
    parser.add_argument("--config-dir", action="append", default=[], metavar="DIR", help="a folder of your own choices")
    parser.add_argument("--json", action="store_true", help="for a program (with check and --cfg)")
    given = parser.read(words)
    return Request(given.overrides, given.config_dir, given.multirun, given.name, given.cfg is not None, given.json)


def cells(asked: Request) -> list[Planned]:
    """Every run that is asked for, composed and validated."""
    from rlbench import config
    from rlbench.launch.sweep import Planned

    found: list[Planned] = []
    words = config.expand(asked.overrides, asked.multirun, asked.config_dirs)
    for each, content in config.compose_sweep(words, asked.config_dirs):
        if "search" in content:
            from rlbench.launch.search import trials

            found += trials(each, content, asked.config_dirs)
        else:
            found.append(Planned.of(list(each), content))
    return found


def one_of_each(runs: Sequence[Planned]) -> list[Planned]:
    """The runs, but of the trials of a search the first alone: nothing is known yet that tells them apart."""
    return list(
        {run.directory.parent if "trial" in run.config else run.directory: run for run in reversed(runs)}.values()
    )[::-1]


def launch(asked: Request) -> int:
    """Run what is asked for, where `hardware=` says."""
    with importing():
        from rlbench.launch import start
    runs = cells(asked)
    if asked.config_only:
        print(configurations(runs, asked), end="")
        return 0
    alone = len(runs) == 1 and asked.name is None
    with to_the_end():
        if alone and runs[0].config["hardware"]["where"] == "here" and "trial" not in runs[0].config:
            return start.single(runs[0])
        return start.sweep(asked.overrides, runs, asked.name)


def configurations(runs: Sequence[Planned], asked: Request) -> str:
    """The configurations as text for `--cfg job`."""
    import yaml

    contents = [{key: value for key, value in run.config.items() if key != "trial"} for run in one_of_each(runs)]
    if asked.json:
        from rlbench.analysis.contents import defined

        return json.dumps(defined(contents if asked.multirun else contents[0]), indent=2) + "\n"
    return "---\n".join(yaml.safe_dump(content, sort_keys=False) for content in contents)


def guarded(command: Callable[[], int]) -> int:
    """The exit code of a command; what goes wrong becomes one message, with a traceback only on request."""
    try:
        return command()
    except UsageError as error:
        return complain(str(error), 2)
    except RunError as error:
        return complain(str(error), 1)
    except Interrupted as signal:
        return complain("interrupted", signal.exit_code)
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last place before the user
        if isinstance(error, OSError) and error.errno is not None:
            where = f" {error.filename}" if error.filename else ""
            return complain(f"cannot read or write{where}: {error.strerror or error}", 1)
        text = " ".join(str(error).split())
        return complain(f"{type(error).__name__}: {text}\na fault of rlbench: RLBENCH_TRACEBACK=1 shows where", 1)


def complain(message: str, code: int) -> int:
    with suppress(OSError):  # nobody reads it, or there is no room for it: the code is left to say it
        if os.environ.get("RLBENCH_TRACEBACK") == "1":
            traceback.print_exc()
        print(f"rlbench: error: {message}", file=sys.stderr, flush=True)
    return code
