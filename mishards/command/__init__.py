"""The write side: a client's bytes handed to the writable node; never repeated once sent."""
