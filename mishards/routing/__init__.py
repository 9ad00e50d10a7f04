"""Who should hold a segment: the interface of routing plugins and pure planning."""
