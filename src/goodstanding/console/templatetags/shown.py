"""How numbers and times are written on the console's pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from django import template
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@register.filter
def number(value: int) -> str:
    """A whole number, its thousands separated as the language does."""
    return number_format(value, decimal_pos=0, use_l10n=True, force_grouping=True)


@register.filter
def percent(value: float) -> str:
    """A share in percent; what is little is not shown as nothing, nor nearly all as all."""
    if 0 < value < 0.1:
        return f"< {number_format(0.1, decimal_pos=1)} %"
    if 99.9 < value < 100:
        return f"> {number_format(99.9, decimal_pos=1)} %"
    # Django cuts off what is too long; it does not round.
    return f"{number_format(round(value, 1), decimal_pos=0 if value in (0, 100) else 1)} %"


@register.filter
def moment(microseconds: int) -> SafeString:
    """A time (microseconds since 1970 UTC) in the operator's time zone, with the zone's name."""
    at = timezone.localtime(_EPOCH + timedelta(microseconds=microseconds))
    return format_html(
        '<time datetime="{}">{}</time>', at.isoformat(), date_format(at, "j M Y, H:i:s T")
    )
