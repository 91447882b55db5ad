"""The ledger: events and all that is derived from them. The only code that folds."""
