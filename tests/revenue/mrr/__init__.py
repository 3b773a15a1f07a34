"""Monthly recurring revenue: its facts and its figures."""
