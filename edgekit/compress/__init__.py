"""Compression: methods that read a checkpoint and write a smaller one."""
