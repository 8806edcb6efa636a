"""What joins the universal features to RecBole's data sets and batches."""
