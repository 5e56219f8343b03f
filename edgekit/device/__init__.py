"""Bundles measured on devices, over the system's ssh: sent, checked, verified, timed there, and nothing left behind."""
