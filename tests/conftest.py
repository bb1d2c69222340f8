"""Settings that all tests share."""

import os

from hypothesis import settings

# In CI the examples are always the same, so that a failure there is one that anybody can repeat.
settings.register_profile("local", deadline=None, max_examples=40)
settings.register_profile("ci", deadline=None, max_examples=40, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
