"""Intake: every unsigned door. Durable first, understood second."""
