"""The documentation: pages in Markdown, what generates the reference, what builds the site."""
