"""How much load the servers hold."""
