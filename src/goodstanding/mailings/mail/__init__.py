"""The mail itself: a content made into one message for each recipient. No models, no database."""
