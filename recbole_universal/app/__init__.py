"""What people call: recommend, analyze, doctor, and runs with RecBole."""
