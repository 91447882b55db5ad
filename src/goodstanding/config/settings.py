"""Django's settings, from the environment and goodstanding.toml: see ``config.options``."""

from __future__ import annotations

from urllib.parse import urlsplit

from goodstanding.config import options as _options

HOME = _options.home()
OPTIONS = _options.read(HOME)
_options.use_bounce_rules(OPTIONS)

SECRET_KEY = _options.secret_key(HOME, OPTIONS)
DEBUG = False
ALLOWED_HOSTS = [
    urlsplit(OPTIONS.base_url).hostname or "localhost",
    *OPTIONS.allowed_hosts,
    "localhost",
    "127.0.0.1",
]

_main = _options.database(HOME)
_on_sqlite = _main["ENGINE"].endswith("sqlite3")
DATABASES = {
    "default": _main,
    # Hearing must not wait for folding: the spool is a file, or a connection, of its own.
    "spool": _options.sqlite(HOME / "spool.sqlite3") if _on_sqlite else dict(_main),
}
if not _on_sqlite:
    DATABASES["spool"]["TEST"] = {"MIRROR": "default"}
DATABASE_ROUTERS = ["goodstanding.config.routers.SpoolRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "goodstanding.ledger",
    "goodstanding.contacts",
    "goodstanding.mailings",
    "goodstanding.intake",
    "goodstanding.console",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "static/"
ROOT_URLCONF = "goodstanding.config.urls"
LOGIN_URL = "/sign-in/"
LOGIN_REDIRECT_URL = "/"
LANGUAGE_CODE = OPTIONS.language
# Only what has a catalogue: a page must not be half in one language and half in another.
LANGUAGES = [("en", "English")]
TIME_ZONE = OPTIONS.time_zone
USE_TZ = True
USE_I18N = True

_secure = urlsplit(OPTIONS.base_url).scheme == "https"
SESSION_COOKIE_SECURE = _secure
CSRF_COOKIE_SECURE = _secure
SESSION_COOKIE_HTTPONLY = True
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGGING_CONFIG = None
