"""How to hand a message to the outside, one module for each kind of relay. No models."""
