"""The pages that need signing in."""
