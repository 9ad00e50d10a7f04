"""What people and scripts see and do over HTTP: the status page and its JSON.

Views are frozen dataclasses, made by pure functions; the routes turn them into JSON. What is changed here is changed by
the parts that own it: replica numbers by ``query.replicas``, draining by the fleet.
"""
