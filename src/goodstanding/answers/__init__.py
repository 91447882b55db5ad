"""What console, API and command line all ask: check, why, reports. No models, and no writing."""
