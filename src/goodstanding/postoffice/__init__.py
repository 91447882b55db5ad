"""A pretend internet of mailbox providers, for the demonstration, the tests and the load tests.

It knows nothing of the rest of the package: it speaks SMTP, LMTP and HTTP, as strangers do.

``python -m goodstanding.postoffice`` prints one line when its doors are open::

    {"relay": port, "providers": {"bigmail.example": port, ...}, "control": port}

``GET /status`` on the control port answers
``{"pending", "accepted", "refused", "deferred", "by_temper": {temper: {did: count}},
"providers": {name: {...}}}``; when ``pending`` is 0 and nothing more is sent, nothing more will
happen. What else can be asked and ordered there: ``--help``, or ``options.CONTROL``.

Which mailbox does what: ``data/tempers.toml``. A mailbox ``temper.<name>.<anything>@`` has the
temper of that name, every other one a temper drawn by its address, its provider and the seed.

A provider as a whole may have limits (``--limit``, ``POST /limits``; ``data/limits.toml``) and be
in a state (``--weather``, ``POST /weather``; ``data/weather.toml``): both speak before the mailbox.
On the relay's port they are those of the recipient's provider. A script of the weather::

    [[spell]]
    provider = "bigmail.example"    # "*": each; of spells that overlap the last one holds
    state = "amnesia"               # healthy, tarpit, deferring, blocking, amnesia, down
    at = 60                         # seconds after the opening; 0 where left out
    lasts = 30                      # for ever where left out
    every = 600                     # once where left out

``--book FILE`` keeps a line for every act: ``book.py``.
"""
