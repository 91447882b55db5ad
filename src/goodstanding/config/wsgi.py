"""The web server's door. Its threads live long, and each keeps its connection to the database."""

import logging
import os
import re

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "goodstanding.config.settings")

_TOKEN = re.compile(r"/(unsubscribe|preferences|open|link)/[^/\s]+")


def _without_tokens(record: logging.LogRecord) -> bool:
    """Let no log line hold what a person's link holds: whoever has it can act for them."""
    record.msg = _TOKEN.sub(r"/\1/...", record.getMessage())
    record.args = ()
    return True


logging.getLogger("django.request").addFilter(_without_tokens)
application = get_wsgi_application()
