"""The headline kernels in steps of rising sophistication, for the book: each correct, and faster than the one before.

What training uses stands in the folder above; a step's kernel is in <name>_steps.cu there. May import what gpu/ may.
"""
