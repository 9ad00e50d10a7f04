"""What the programs count and measure, declared in one place each and shown to Prometheus at ``/metrics``.

What happens to a call is added up as it ends; all other state is read when Prometheus asks. The parts of a program know
nothing of this package: they keep plain numbers, or call back.
"""
