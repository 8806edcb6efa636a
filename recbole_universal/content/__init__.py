"""What items are: vectors from texts and from files, and relations between items that follow from them."""
