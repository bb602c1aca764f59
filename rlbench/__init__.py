"""rlbench: config-driven reinforcement-learning experiments, as a command line."""

__version__ = "0.1.0"
