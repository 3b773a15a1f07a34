"""Everything that an operator can change: plan, apply, audit (DESIGN, rule 6)."""
