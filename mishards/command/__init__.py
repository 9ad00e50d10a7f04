"""The write side: calls that go to the one writable node and are never repeated once sent."""
