"""The policy by which this ledger folds."""

from __future__ import annotations

from django.conf import settings

from goodstanding.core import policy_files
from goodstanding.core.policies import Policy


def active_policy() -> Policy:
    """The policy that the settings name.

    Raises:
        BadPolicy: it does not exist or does not hold what a policy holds.
    """
    return policy_files.load(settings.OPTIONS.policy)
