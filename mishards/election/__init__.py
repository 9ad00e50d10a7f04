"""Which of several candidates leads: the interface of election plugins and the pure code around it."""
