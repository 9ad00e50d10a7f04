"""nginx and HAProxy repeat a call at another router only where that does nothing twice."""

from __future__ import annotations

import re

import pytest

from harness.deployed import DEPLOY
from mishards.wire.replies import METHODS

REPEATED = {
    "nginx": re.search(r'location ~ "(\S+)"', (DEPLOY / "nginx" / "nginx.conf").read_text(encoding="utf-8")),
    "haproxy": re.search(r"path_reg '(\S+)'", (DEPLOY / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")),
}
READS = {
    *("Search", "SearchByID", "SearchInFiles", "GetVectorsByID", "GetVectorIDs"),
    *("HasCollection", "HasPartition", "DescribeCollection", "DescribeIndex", "CountCollection"),
    *("ShowCollections", "ShowCollectionInfo", "ShowPartitions"),
}


@pytest.mark.parametrize("balancer", sorted(REPEATED))
def test_reads_are_repeated_and_nothing_else_is(balancer: str) -> None:
    found = REPEATED[balancer]
    assert found is not None
    repeated = {name for name in METHODS if re.search(found[1], f"/milvus.grpc.MilvusService/{name}")}
    hybrid = {name for name in repeated if "Hybrid" in name}  # of the protocol, and answered by nobody
    assert repeated - hybrid == READS
    assert not hybrid & {"CreateHybridCollection", "InsertEntity"}
