"""Who may do what: TLS, tokens, roles, limits of a client, and whether a program stands open to strangers."""
