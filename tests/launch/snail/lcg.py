"""A linear congruential generator (Hull-Dobell: full period), small enough for float32 to hold its numbers."""


def after(value: int) -> int:
    """The number after this one."""
    return (1_103_517 * value + 12_345) % 2**23
