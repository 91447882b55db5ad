"""The rules, as TOML."""
