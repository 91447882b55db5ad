"""A pretend internet of mailbox providers, for the demonstration, the tests and the load tests.

It knows nothing of the rest of the package: it speaks SMTP, LMTP and HTTP, as strangers do.
"""
