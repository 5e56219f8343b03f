"""What a person writes: recipes and targets, as strict TOML, and the files that ship with the package."""
