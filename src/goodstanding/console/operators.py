"""Operators: the people who may sign in."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction


def create(name: str, password: str) -> None:
    """Let somebody sign in by that name and password.

    Raises:
        ValueError: the name is none or is taken, or the password is refused; one plain sentence.
    """
    operator = User(username=User.normalize_username(name.strip()))
    try:
        operator.clean_fields(exclude=["password"])
    except ValidationError as error:
        raise ValueError(f"the name is refused: {_sentence(error)}") from None
    if User.objects.filter(username__iexact=operator.username).exists():
        raise ValueError(f"there is an operator {operator.username!r} already")
    try:
        validate_password(password, operator)
    except ValidationError as error:
        raise ValueError(f"the password is refused: {_sentence(error)}") from None
    operator.set_password(password)
    try:
        with transaction.atomic():
            operator.save()
    except IntegrityError:
        raise ValueError(f"there is an operator {operator.username!r} already") from None


def _sentence(error: ValidationError) -> str:
    """All that is wrong, in one sentence."""
    said = (message.rstrip(".").replace(". ", ", ") for message in error.messages)
    return "; ".join(text[:1].lower() + text[1:] for text in said)
