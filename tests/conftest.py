"""What every test shares: one thread, here and in child processes, and the same examples each run.

One, because equal bits are promised at one number of threads, and because a second one spins in
networks this small while other processes wait. Set before anything imports torch.
"""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("skmdn", deadline=None, derandomize=True)
settings.load_profile("skmdn")
