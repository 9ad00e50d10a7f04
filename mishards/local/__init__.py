"""The embedded cluster: every process a child, one folder, one command."""
