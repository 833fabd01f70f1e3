"""This machine as a place to train: its hardware and speed, whether a study admits it, its text and tokenizers."""
