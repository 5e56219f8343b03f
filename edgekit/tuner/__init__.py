"""Search over recipes under a budget: what may be drawn, what a trial costs and gives, and the study that holds all of them."""
