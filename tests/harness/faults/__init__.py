"""Faults that tests bring upon running programs: one tool a module.

Each tool undoes what it did when its ``with`` block ends, whatever happened in it, and each ends its fault with
``heal``. ``missing`` says what it would need and does not have here, or nothing; its tests are skipped then. None of
them knows which programs there are: they are given folders, ports and process ids.
"""
