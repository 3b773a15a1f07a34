"""What the weekly run tells finance: who used how many credits, and where the money went."""
