"""The files of the demonstration: templates and settings."""
