"""httpx gives an idle connection up after five seconds; tests that come back to one may take longer."""

import httpx

LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=600)
