"""Responses to prompts in words: comparisons from files, a language model to be tuned."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rlbench.data.prompts import source
from rlbench.envs.problem import Problem
from rlbench.errors import RunError, UsageError
from rlbench.metrics import Ways
from rlbench.types import Count, NonNegative, NonNegativeInt, Positive

if TYPE_CHECKING:
    from rlbench.language.policy import TextPolicy
    from rlbench.language.written import Backend, TextTask
    from rlbench.task import Task


@dataclass(frozen=True)
class Written(Problem):
    """What all problems in words share.

    Args:
        name: the word after `env=`.
        beta: price of a nat of divergence from the reference.
        max_length: most tokens of a prompt with its response; longer ones are cut.
        max_prompt_length: most tokens that a prompt keeps where they are too long.
        max_new: most tokens of a response that is sampled.
        held_out: most held-out comparisons that policies are judged by.
        shifted: prompts of another kind that policies are judged by as well, SOURCE or SOURCE:PATH (see
            `rlbench.data.prompts`); null: none.
        temperature: at which responses are sampled to be judged; 0: the most probable tokens.
        judge: decides between a sample and the preferred response of the data, a plug-in; null: nobody does.
        reward: grades samples, a plug-in or a classifier of `rlbench.language.reward`; null: nobody does.
        sft_epochs: passes over the responses to be imitated in which the reference is fitted; 0: the model as it is.
        sft_batch_size: responses in a minibatch.
        sft_micro_batch: of these, how many are computed at a time (less memory); null: all.
        sft_learning_rate: step size of RMSprop.
        sft_warmup_updates: updates until it is reached.

    Raises:
        UsageError: a prompt may be so long that nothing is left of its responses.
    """

    metric_directions: ClassVar[Ways] = {"eval/kl": "lower", "eval/shifted_kl": "lower"}
    judged_by: ClassVar[frozenset[str]] = frozenset(
        {"temperature", "max_new", "held_out", "shifted", "judge", "reward"}
    )

    name: str
    beta: Positive
    max_length: Count
    max_prompt_length: Count
    max_new: Count
    held_out: Count
    shifted: str | None
    temperature: NonNegative
    judge: Any
    reward: Any
    sft_epochs: NonNegativeInt
    sft_batch_size: Count
    sft_micro_batch: Count | None
    sft_learning_rate: Positive
    sft_warmup_updates: NonNegativeInt

    def __post_init__(self) -> None:
        if self.max_length <= self.max_prompt_length:
            raise UsageError(
                f"env.max_length={self.max_length} leaves nothing of a response behind a prompt of "
                f"env.max_prompt_length={self.max_prompt_length}\nraise the one, or lower the other"
            )

    def require(self) -> None:
        if self.shifted is not None:
            next(source(self.shifted), None)  # the first of them is read

    @property
    def one_precision(self) -> bool:
        """Whether the reference has the precision of what is trained."""
        return True

    def backend(self, task: Task) -> tuple[TextPolicy, Backend]:
        """The model before anything is learned here, and its tokens."""
        raise NotImplementedError

    def task(self, task: Task) -> TextTask:
        from rlbench.language.written import make

        return make(self, task)


@dataclass(frozen=True)
class Text(Written):
    """A language model of `transformers`.

    Args:
        model: a folder, or a name on the hub of Hugging Face.
        dtype: of its weights.
        reference_dtype: of the reference's, which are not trained.
        lora_rank: rank of adapters, which alone are trained then; null: all weights are.
        learning_rate: step size of RMSprop in all that is trained, unless told otherwise.
        warmup_updates: updates until it is reached, likewise.
    """

    model: str
    dtype: Literal["float32", "bfloat16"]
    reference_dtype: Literal["float32", "bfloat16", "float16"]
    lora_rank: Count | None
    learning_rate: Positive
    warmup_updates: NonNegativeInt

    def require(self) -> None:
        require(f"env={self.name}", "transformers", *(["peft"] if self.lora_rank else []))
        super().require()

    @property
    def one_precision(self) -> bool:
        return self.reference_dtype == self.dtype

    def simulator(self) -> str:
        return f"{self.name}, {self.model}"

    def backend(self, task: Task) -> tuple[TextPolicy, Backend]:
        from rlbench.language.written import hf_backend

        return hf_backend(self, task)


@dataclass(frozen=True)
class TinyText(Written):
    """A small transformer of our own that reads and writes bytes, from scratch.

    Args:
        layers: of the transformer.
        width: of its residual stream.
        heads: of its attention; they divide the width.

    Raises:
        UsageError: they do not; and as `Written`.
    """

    layers: Count
    width: Count
    heads: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_uneven(self.heads, self.width)

    def backend(self, task: Task) -> tuple[TextPolicy, Backend]:
        from rlbench.language.written import tiny_backend

        return tiny_backend(self, task)


def refuse_uneven(heads: int, width: int) -> None:
    """Raise `UsageError` if the heads of attention do not divide the width of a transformer."""
    if width % heads:
        raise UsageError(f"env.heads={heads} do not divide env.width={width}\nwanted is a width that they divide")


def require(what: str, *packages: str) -> None:
    """Raise `RunError` if a package of the extra for language models is not installed."""
    if missing := [package for package in packages if find_spec(package) is None]:
        raise RunError(f"{what} needs {', '.join(missing)}: pip install 'rlbench[language]'")
