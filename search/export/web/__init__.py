"""A page in which a visitor types a prompt and the model writes on, in the browser, without a server of its own."""
