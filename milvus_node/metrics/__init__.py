"""What a node counts and measures, declared in one place and shown to Prometheus at ``/metrics``.

The parts of the node know nothing of this package: they keep plain numbers, or call back.
"""
