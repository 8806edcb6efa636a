"""What a transformer over item content consists of: item vectors, encoders of items, adapters; imports no RecBole."""
