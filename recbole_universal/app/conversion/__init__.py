"""Tables to RecBole's atomic files and back. See docs/convert.md."""
