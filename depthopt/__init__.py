"""Make a trained convolutional network shallower and faster for one device."""
