"""The host side: what to run, where, and whether at all."""
