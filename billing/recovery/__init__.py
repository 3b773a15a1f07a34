"""Coming back from emergencies: what an outage lost, a damaged database, a lost one."""
