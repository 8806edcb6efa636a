"""How good are the recommendations on a table of interactions? See docs/evaluate.md."""
