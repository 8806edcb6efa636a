"""Everything that touches RecBole: registration, datasets, loaders, models, trainers."""
