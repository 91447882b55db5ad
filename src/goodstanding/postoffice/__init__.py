"""A pretend internet of mailbox providers, for the demonstration, the tests and the load tests.

It knows nothing of the rest of the package: it speaks SMTP, LMTP and HTTP, as strangers do.

``python -m goodstanding.postoffice`` prints one line when its doors are open::

    {"relay": port, "providers": {"bigmail.example": port, ...}, "control": port}

``GET /status`` on the control port answers
``{"pending", "accepted", "refused", "deferred", "by_temper": {temper: {did: count}}}``; when
``pending`` is 0 and nothing more is sent, nothing more will happen.

Which mailbox does what: ``data/tempers.toml``. A mailbox ``temper.<name>.<anything>@`` has the
temper of that name, every other one a temper drawn by its address, its provider and the seed.
"""
