"""The entry points: recommend, analyze, doctor, and runs with RecBole."""
