"""Single units of a layer: the pixels they read, and the pixels that caused them."""
