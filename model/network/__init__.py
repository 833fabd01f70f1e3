"""The transformer: its parts, its loss, its parameter and FLOP counts, and the device it runs on."""
