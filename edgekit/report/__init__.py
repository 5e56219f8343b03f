"""What was gained and what was lost, for people: terminal tables, Markdown, and one self-contained HTML page."""
