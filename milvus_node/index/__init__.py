"""Vector indexes over local row numbers; the only place that knows faiss."""
