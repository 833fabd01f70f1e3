"""`python -m docs.generate` writes the generated pages; a test fails where they differ from the code."""

from docs.generate.pages import PAGES, REFERENCE

if __name__ == "__main__":
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
        print(f"docs/reference/{name}".replace("reference/../", ""))
