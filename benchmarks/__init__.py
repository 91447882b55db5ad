"""How fast Goodstanding is, against yardsticks measured in the same run."""
