"""What will run: the stages of a recipe for its targets, and every fault of the recipe said before anything runs."""
