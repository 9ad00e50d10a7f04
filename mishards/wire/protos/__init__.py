"""The protocol's message definitions and the code generated from them (``make protos``)."""
