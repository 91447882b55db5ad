"""Handing over: messages are made and given to their lanes' gateways, here or in another process.

No database, no models: what decides and remembers is elsewhere.
"""
