"""What every test shares: the same examples on every run, at whatever speed the machine has."""

from hypothesis import settings

settings.register_profile("skmdn", deadline=None, derandomize=True)
settings.load_profile("skmdn")
