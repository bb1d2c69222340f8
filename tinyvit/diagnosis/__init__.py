"""What ``python -m tinyvit.doctor`` looks at: each probe looks for one thing, and says what it is or what is missing.

Nothing here may fail, whatever is broken: what a probe needs it imports itself, and what goes wrong is what it found.
May import everything but commands.
"""
