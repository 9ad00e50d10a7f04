"""For tests of plugins and of the router: conformance suites to subclass, and fakes that obey the interfaces.

Ships with the package so that a stranger's plugin is held to what ours are. No part of the product imports it; it
needs pytest.
"""
