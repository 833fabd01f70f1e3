"""What models write after prompts, graded by a judge and counted."""
