"""The router's face: one coroutine a family of methods, errors to status, health over HTTP."""
