"""Credits as money: what each was paid for, what used it, and what is still to be delivered."""
