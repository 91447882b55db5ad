"""Whether you may message someone, and what became of every message you sent."""
