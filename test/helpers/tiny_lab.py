"""What makes a recipe of the lab tiny. Classes are cut so that thirty images make some."""

TINY = {
    "train.weights": "",
    "train.network.height": 64,
    "train.network.width": 64,
    "train.epochs": 1,
    "train.batches_per_epoch": 1,
    "train.places_per_batch": 4,
    "train.images_per_place": 2,
    "train.classes": {"cell_m": 60.0, "min_images": 2, "apart_cells": 2, "groups": 1},
    "train.workers": 0,
}
