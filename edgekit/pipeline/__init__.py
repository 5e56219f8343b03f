"""Running a plan through the store, and the result folder it leaves."""
