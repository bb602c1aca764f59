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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from rlbench import __version__
from rlbench.errors import Interrupted, RunError, UsageError

if TYPE_CHECKING:
    from omegaconf import DictConfig

VERBS = {
    "list": "what there is to choose: list [algo|env|dataset|hardware|experiment]",
    "describe": "every key of a choice, its default, meaning and source: describe algo=cocoa",
    "check": "compose and validate, run nothing: check OVERRIDES",
    "runs": "what was run, and what came of it",
    "show": "one run: show RUN",
    "compare": "does A beat B, by how much, is it enough to tell: compare [FILTER...]",
    "resume": "go on with a run that was stopped: resume RUN",
    "eval": "more episodes of a trained policy, on video if you like: eval RUN",
    "export": "a policy as TorchScript or ONNX: export RUN",
    "data": "recorded datasets, and the policies behind them",
    "doctor": "whether this machine has what it takes",
}

HELP = f"""\
Train, resume and compare reinforcement-learning algorithms.

  rlbench algo=cocoa env=hopper                       one run
  rlbench algo=cocoa env=hopper seeds=8               eight seeds, trained together
  rlbench -m algo=iql,cql dataset=medium,expert       a sweep, one cell after another
  rlbench algo=cocoa preset=quick                     a short run, to see that it works

Overrides
  GROUP=OPTION   choose a file: algo, env, dataset, base, hardware, tracking, preset, experiment
  KEY=VALUE      set a value: seed=1 steps=20000 eval.every=1000 algo.gamma=0.98
  dataset=file:PATH   your own recording

Commands (each explains itself with --help)
{chr(10).join(f"  {verb:<10} {text}" for verb, text in VERBS.items())}

Options
  -m, --multirun     run every combination of values: a=1,2  a=range(0,4)  algo=glob(td3*)
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
    try:
        code = guarded(lambda: dispatch(words))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has seen enough: `rlbench list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def dispatch(words: list[str]) -> int:
    if words and words[0] in VERBS:
        module = importlib.import_module(f"rlbench.verbs.{words[0]}")
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
    parser.add_argument("--cfg", choices=["job"], help="print the configuration")
    parser.add_argument("--config-dir", action="append", default=[], metavar="DIR", help="a folder of your own choices")
    parser.add_argument("--json", action="store_true", help="for a program (with check and --cfg)")
    given = parser.read(words)
    return Request(given.overrides, given.config_dir, given.multirun, given.cfg is not None, given.json)


def cells(asked: Request) -> list[tuple[list[str], DictConfig]]:
    """Every run that is asked for, composed and validated."""
    from rlbench import config

    sweep = config.expand(asked.overrides, asked.multirun, asked.config_dirs)
    composed = []
    for overrides in sweep:
        try:
            composed.append((overrides, config.compose(overrides, asked.config_dirs)))
        except UsageError as error:
            if len(sweep) == 1:
                raise
            raise UsageError(f"{' '.join(overrides)}: {error}") from error
    return composed


def launch(asked: Request) -> int:
    """Run one cell after another; one that fails does not stop the others."""
    from omegaconf import OmegaConf

    runs = cells(asked)
    if asked.config_only:
        contents = [OmegaConf.to_container(cfg) for _, cfg in runs]
        if asked.json:
            print(json.dumps(contents if asked.multirun else contents[0], indent=2))
        else:
            print("---\n".join(OmegaConf.to_yaml(cfg) for _, cfg in runs), end="")
        return 0
    from rlbench import config
    from rlbench.run import run

    for _, cfg in runs:
        config.run_directory(cfg)  # what is wrong with a dataset shows before the first cell begins
    failed = []
    for number, (overrides, cfg) in enumerate(runs, 1):
        if len(runs) > 1:
            print(f"[{number}/{len(runs)}] {' '.join(overrides)}", flush=True)
        code = guarded(lambda cfg=cfg, overrides=overrides: run(cfg, overrides))  # type: ignore[misc]
        if code >= 128 or len(runs) == 1:
            return code
        if code:
            failed.append(" ".join(overrides))
    if failed:
        raise RunError(f"{len(failed)} of {len(runs)} runs failed: {'; '.join(failed)}")
    return 0


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
        text = " ".join(str(error).split())
        return complain(f"{type(error).__name__}: {text}\na fault of rlbench: RLBENCH_TRACEBACK=1 shows where", 1)


def complain(message: str, code: int) -> int:
    if os.environ.get("RLBENCH_TRACEBACK") == "1":
        traceback.print_exc()
    print(f"rlbench: error: {message}", file=sys.stderr, flush=True)
    return code
