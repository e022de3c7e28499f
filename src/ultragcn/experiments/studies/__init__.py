"""Studies: many trainings, of which the settings vary or the models."""
