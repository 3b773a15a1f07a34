"""Coming back from emergencies: a lost outage's events, a damaged database, a lost one."""
