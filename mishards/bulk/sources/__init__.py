"""Readers of files of vectors, one module a family of formats, behind the one interface in ``api``."""
