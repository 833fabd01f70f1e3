"""Which workers a study has, and what is said of the study itself."""
