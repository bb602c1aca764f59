"""What every run of a queue needs, imported once, by the process that the runs are forked from and by no other.

Ctrl-C at the terminal is the queue's to answer, so this process leaves the terminal's group; until a run listens, a
signal ends it.
"""

import os
import signal

from rlbench.importing import importing
from rlbench.signals import end_with_parent

os.setsid()
end_with_parent()
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

with importing():
    import torch

    import rlbench.build
    import rlbench.launch.job  # noqa: F401
    from rlbench.nets.matmul import choose_matmul_backend
    from rlbench.tracking import meta

    torch.set_num_threads(1)  # threads do not survive a fork: there are to be none
    choose_matmul_backend()
    meta.describe()  # its versions and commit are remembered: those of the code that is imported here
