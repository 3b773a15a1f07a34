"""The payment flows that everything depends on, tried end to end as a customer would."""
