"""The Captum classes: ``ZFDeconv``, ``NeuronZFDeconv``, ``LayerZFDeconv``."""
