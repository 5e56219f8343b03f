"""What a machine says of its clock, heat, throttling and energy: one file a source, each a number with its unit or the reason why not."""
