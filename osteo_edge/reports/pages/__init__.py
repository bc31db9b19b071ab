"""An answer on a page for people: one PDF and one HTML file, in several languages. The PDF needs the extra ``report``."""
