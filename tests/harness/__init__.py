"""Real programs and small data for tests: servers, the unmodified client, a faulty network.

Every class here starts something real, on a free port of the loopback interface, and takes it down again whatever
happens. The harness knows how programs are started and talked to; it knows nothing of Mishards itself.
"""
