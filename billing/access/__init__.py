"""Who may come in, and what that takes: log-in, second factor, sessions, rights."""
