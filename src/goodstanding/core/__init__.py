"""The rules: pure Python, no Django, no I/O beyond its own data files, no clock of its own."""
