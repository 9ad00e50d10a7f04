"""Rows in bulk, through a running router or node: import, export, backup, restore and a load generator."""
