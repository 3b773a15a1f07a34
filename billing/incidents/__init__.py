"""What an incident touches, what happened meanwhile, who was told, and its report: all computed."""
