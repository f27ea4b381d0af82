"""Functions to deploy, and the demonstration that deploys them."""
