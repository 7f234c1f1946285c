"""What engine and learner share: the base model, its adapter bank, and log-probabilities over the legal set.

Nothing is re-exported, so that `olal.models.model_path` can be used where torch must not be loaded.
"""
