"""Small models for the tasks of a recurrent network, each with `fit`, `predict` and `save`."""
