"""Asks an address and ends with 0 where it answers 200: python deploy/probe.py ADDRESS."""

import sys
import urllib.request

try:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(sys.argv[1], timeout=4)
except OSError as error:
    sys.exit(f"{sys.argv[1]}: {error}")
