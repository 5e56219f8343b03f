"""What loading a bundle costs, beside another commit of edgekit."""
