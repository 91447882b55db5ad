"""Mailings: content, planning, the outbox and its workers."""
