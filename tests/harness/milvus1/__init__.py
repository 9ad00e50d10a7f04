"""A test double of an unmodified Milvus 1.x server. It is no Milvus: to pass against it proves nothing about Milvus.

It behaves as the project's notes on Milvus 1.0 say that server was seen to behave, or as its source was read: the real
tables written by the real sequences of separate autocommit statements, the real folders and raw files, the statuses and
texts, the widths and paddings of results, the segments that a read-only node goes on serving from memory. It is an
independent reading of those notes: of this project it imports the generated messages only, so that an error of the
router or the node is not repeated here and thereby hidden.

What it cannot show:

- Speed, memory, and anything about indexes: every search is brute force in numpy. An index file exists and names its
  type, but holds no index; approximate results are only imitated (``Options.approximate_hits``).
- Recovery: there is no WAL. A killed node has lost what was not flushed, where the real one replays it.
- The bloom filter (a stub of the right name and mode), sizes of buffers and caches (nothing is evicted or refused), the
  combining of queued searches, segments of at most 128 MB, background merges by size layers, the HTTP server.
- Whatever the notes leave out or have wrong, and texts of errors that nobody provoked.

``node.Milvus1Double`` runs one node inside the test, with ``hooks`` to pause it between two statements and to break
it; ``program.Milvus1Program`` runs ``python -m harness.milvus1`` as a process of its own that can be killed.
"""
