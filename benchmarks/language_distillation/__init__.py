"""What distilling a decoder buys, arm by arm."""
