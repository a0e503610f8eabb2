"""Local servers that speak a vendor's API, for the suites that need a real socket at the other end."""
