"""The web server's door. Its threads live long, and each keeps its connection to the database."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "goodstanding.config.settings")
application = get_wsgi_application()
